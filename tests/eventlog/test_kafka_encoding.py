"""Records to Kafka's batches and back."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from headrace.eventlog.kafka.driver import calc_crc32c
from headrace.eventlog.kafka.encoding import (
    BATCH_OVERHEAD,
    decode,
    encode,
    pack,
    pack_headers,
    size_of,
    split,
)
from headrace.eventlog.port import NewRecord, Record
from headrace.schemas.errors import Unavailable

NOW_MS = 1_750_000_000_123
SEQUENCE = (4711, 3, 99)
Headers = Mapping[str, bytes]
Parts = Sequence[tuple[Sequence[NewRecord], Headers]]


def there_and_back(batch: bytes, position: int = 0) -> list[Record]:
    found: list[Record] = []
    for one in split(batch):
        decode(one, position, found)
    return found


def encode_all(parts: Parts, timestamp_ms: int, compression: str) -> bytes:
    """One batch of parts that were packed as if each were the first."""
    packed = [pack(some, pack_headers(headers), 0) for some, headers in parts]
    return encode(packed, SEQUENCE, timestamp_ms, compression)


def records(count: int, size: int = 20) -> list[NewRecord]:
    return [NewRecord(b"key %d" % n, b"%0*d" % (size, n)) for n in range(count)]


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
@pytest.mark.parametrize("count", [1, 2, 1000])
def test_records_come_back_as_they_were(compression: str, count: int) -> None:
    """Order, keys, values and the time survive every compression."""
    wanted = records(count)
    found = there_and_back(encode_all([(wanted, {})], NOW_MS, compression))
    assert [(r.position, r.key, r.value) for r in found] == [
        (n, r.key, r.value) for n, r in enumerate(wanted)
    ]
    assert {r.appended_at for r in found} == {datetime.fromtimestamp(NOW_MS / 1000, UTC)}
    assert all(r.headers == {} for r in found)


def test_each_part_keeps_its_headers() -> None:
    """Batches of several requests lie in one batch of Kafka; none takes another's headers."""
    parts: list[tuple[Sequence[NewRecord], Headers]] = [
        (records(2), {"mark": b"retry", "traceparent": b"00-1"}),
        (records(1), {}),
        (records(1), {"mark": b"last"}),
    ]
    found = there_and_back(encode_all(parts, NOW_MS, "lz4"))
    assert [r.headers for r in found] == [
        {"mark": b"retry", "traceparent": b"00-1"},
        {"mark": b"retry", "traceparent": b"00-1"},
        {},
        {"mark": b"last"},
    ]


HEADERS = st.dictionaries(st.text(max_size=5), st.binary(max_size=5), max_size=3)
RECORDS = st.lists(
    st.builds(
        NewRecord,
        st.binary(max_size=5) | st.just(b"k" * 200),
        st.binary(max_size=5) | st.sampled_from([b"v" * 64, b"v" * 8_200, b"v" * 20_000]),
    ),
    min_size=1,
    max_size=5,
)


@given(st.lists(st.tuples(RECORDS, HEADERS), min_size=1, max_size=3))
def test_batches_are_those_of_aiokafka(parts: list[tuple[list[NewRecord], Headers]]) -> None:
    """Byte for byte, whatever the sizes: what two authors write alike is the format."""
    assert encode_all(parts, NOW_MS, "none") == by_aiokafka(parts)


def test_batches_of_many_records_are_those_of_aiokafka() -> None:
    """More than there are small numbers."""
    parts: Parts = [(records(15_000, 1), {}), (records(3_000, 1), {"mark": b"retry"})]
    assert encode_all(parts, NOW_MS, "none") == by_aiokafka(parts)


@given(RECORDS, HEADERS, st.sampled_from([0, 1, 63, 64, 8_191, 8_192, 20_000]))
def test_records_are_numbered_anew_where_others_come_before_them(
    some: list[NewRecord], headers: Headers, first: int
) -> None:
    """What was packed for another place in a batch is as if it had been packed for this one."""
    before = pack(records(3), pack_headers({}), 0)
    guessed, right = (pack(some, pack_headers(headers), number) for number in (first, 3))
    assert guessed.count == len(some)
    assert encode([before, guessed], SEQUENCE, NOW_MS, "none") == encode(
        [before, right], SEQUENCE, NOW_MS, "none"
    )


def by_aiokafka(parts: Parts) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, *SEQUENCE, 2**31 - 1)
    index = 0
    for some, headers in parts:
        for record in some:
            builder.append(index, NOW_MS, record.key, record.value, [*headers.items()])
            index += 1
    return bytes(builder.build())


def test_a_strangers_header_may_have_any_name() -> None:
    """Brokers do not look at names; one that is no text must not stop whoever reads it."""
    mark = b"name-of-4"
    parts: Parts = [
        (records(1), {}),
        (records(2), {mark.decode(): b"value", "good": b""}),
    ]
    batch = bytearray(by_aiokafka(parts).replace(mark, b"\xff\xfe\xc0\xc1-of-4"))
    struct.pack_into(">I", batch, 17, calc_crc32c(bytes(batch[21:])))
    found = there_and_back(bytes(batch + batch))
    assert [r.value for r in found] == [r.value for part, _ in parts for r in part] * 2
    assert found[0].headers == {}
    assert {name: value for name, value in found[1].headers.items() if name.isascii()} == {
        "good": b""
    }
    assert list(found[2].headers.values()) == [b"value", b""]


def test_of_a_strangers_headers_of_one_name_the_last_counts() -> None:
    """Kafka keeps a list of them; we keep a value for each name."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, *SEQUENCE, 2**31 - 1)
    builder.append(0, NOW_MS, b"key", b"value", [("mark", b"first"), ("mark", b"last")])
    (found,) = there_and_back(bytes(builder.build()))
    assert found.headers == {"mark": b"last"}


@pytest.mark.parametrize("timestamp_ms", [-1, 2**60, -(2**60)])
def test_a_time_that_is_none_stops_nobody(timestamp_ms: int) -> None:
    """A topic that keeps its writers' times takes any number from a stranger."""
    (found,) = there_and_back(encode_all([(records(1), {})], timestamp_ms, "lz4"))
    assert found.appended_at == datetime(1970, 1, 1, tzinfo=UTC)


def test_what_does_not_shrink_is_sent_as_it_is() -> None:
    """Compressing never makes a batch larger than its records were."""
    noise = bytes((n * 7919 >> 3) % 256 for n in range(40))
    plain = encode_all([([NewRecord(b"", noise)], {})], NOW_MS, "none")
    assert encode_all([([NewRecord(b"", noise)], {})], NOW_MS, "zstd") == plain


def test_a_batch_is_never_larger_than_said() -> None:
    """Sizes are checked before sending, so what is said must be the most there can be."""
    headers: Headers = {"traceparent": b"x" * 55, "märk": b"y"}
    for size in (0, 1, 127, 128, 16_384, 2_097_152):
        wanted = [NewRecord(b"k" * min(size, 300), b"v" * size)] * 3
        said = sum(size_of(r, len(pack_headers(headers))) for r in wanted) + BATCH_OVERHEAD
        assert len(encode_all([(wanted, headers)], NOW_MS, "none")) <= said


def test_reading_begins_in_the_middle_of_a_batch() -> None:
    """The broker sends whole batches; records before the position asked for are left out."""
    batch = encode_all([(records(5), {})], NOW_MS, "lz4")
    assert [r.position for r in there_and_back(batch, 3)] == [3, 4]


def test_a_batch_that_was_cut_short_is_left_out() -> None:
    """The last batch of an answer may be incomplete; it comes again, whole."""
    batch = encode_all([(records(5), {})], NOW_MS, "lz4")
    assert len(split(batch + batch[:-1])) == 1
    assert split(batch[:-1]) == []


@pytest.mark.parametrize("where", [30, 70, -1])
def test_a_damaged_batch_is_told(where: int) -> None:
    """A bit that flipped on the way is found by the checksum, not by the reader of events."""
    batch: Any = bytearray(encode_all([(records(5), {})], NOW_MS, "lz4"))
    batch[where] ^= 1
    with pytest.raises(Unavailable, match="damaged"):
        there_and_back(bytes(batch))
