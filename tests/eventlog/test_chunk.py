"""How batches are framed: what was joined reads as what was appended."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from headrace.eventlog.port import Batch, NewRecord
from headrace.eventlog.sqlite.chunk import (
    Chunk,
    NewChunk,
    decode_records,
    join_small,
    make_chunk,
    pack,
)

RECORDS = st.builds(NewRecord, key=st.binary(max_size=4), value=st.binary(max_size=300))
HEADERS = st.sampled_from([{}, {"mark": b"retry"}, {"traceparent": b"x" * 55}])
BATCHES = st.builds(Batch, st.lists(RECORDS, min_size=1, max_size=40), HEADERS)


def read(chunks: list[NewChunk]) -> list[tuple[bytes, bytes, dict[str, bytes]]]:
    now = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    return [
        (record.key, record.value, dict(record.headers))
        for chunk in chunks
        for record in decode_records(Chunk(chunk.count, 1, now, pack(chunk.body)))
    ]


@given(batches=st.lists(BATCHES, max_size=20))
def test_joined_rows_hold_the_same_records_in_the_same_order(batches: list[Batch]) -> None:
    """Whatever the sizes and headers: nothing is lost, moved or given another's headers."""
    chunks = [make_chunk(batch) for batch in batches]
    joined = list(join_small(chunks))
    assert read(joined) == read(chunks)
    assert [sum(c.count for c in chunks)] == [sum(c.count for c in joined)]


def test_single_events_share_rows() -> None:
    """A hundred single events of a commit are two rows, not a hundred."""
    one = make_chunk(Batch([NewRecord(b"k", b"v" * 400)]))
    assert [chunk.count for chunk in join_small([one] * 100)] == [64, 36]


def test_a_row_of_another_shape_is_left_alone() -> None:
    """Large batches are not copied once more."""
    large = make_chunk(Batch([NewRecord(b"k", bytes(10_000))]))
    assert list(join_small([large, large])) == [large, large]


@given(st.lists(st.binary(max_size=3_000), min_size=1, max_size=20), st.integers(1, 30))
def test_what_is_packed_reads_as_it_was(values: list[bytes], times: int) -> None:
    """Any bytes, alike or not, and never more of them than there were."""
    chunk = make_chunk(Batch([NewRecord(b"k", value) for value in values * times], {"a": b"b"}))
    assert [value for _, value, _ in read([chunk])] == values * times
    assert len(pack(chunk.body)) <= len(chunk.body)


def test_events_of_a_batch_are_packed_and_single_ones_are_not() -> None:
    """Alike they take a fraction of the disk; alone there is nothing to be alike to."""
    event = b'{"event":"a","timestamp":"2026-01-01T00:00:00Z","properties":{"a":%d}}'
    many = make_chunk(Batch([NewRecord(b"k", event % n) for n in range(1_000)])).body
    one = make_chunk(Batch([NewRecord(b"k", event % 1)])).body
    assert len(pack(many)) < len(many) / 4
    assert pack(one) == one
