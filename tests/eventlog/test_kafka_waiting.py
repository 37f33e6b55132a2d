"""What waits for Kafka: lanes, batches cut from them, and what callers are told in the end."""

from __future__ import annotations

import asyncio
from zlib import crc32

import pytest

from headrace.eventlog.kafka.encoding import BATCH_OVERHEAD, encode
from headrace.eventlog.kafka.waiting import Append, Lane, Outgoing, Part, Waiting
from headrace.eventlog.port import Batch, NewRecord
from headrace.schemas.errors import HeadraceError, Overloaded, Unavailable
from tests.eventlog.test_kafka_encoding import there_and_back

LIMIT = 1024 * 1024


def new_append(expires_at: float = 10.0) -> Append:
    return Append(asyncio.get_running_loop().create_future(), expires_at)


def values(parts: list[Part]) -> list[bytes]:
    """Of the records in the batch that is made of these parts."""
    if not parts:
        return []
    found = there_and_back(encode([part.packed for part in parts], (1, 0, 0), 0, "lz4"))
    assert [record.position for record in found] == list(range(len(found)))
    return [record.value for record in found]


def send(lane: Lane, parts: list[Part], *, is_in_doubt: bool) -> Outgoing:
    lane.outgoing = Outgoing(parts, 0.0)
    lane.outgoing.is_in_doubt = is_in_doubt
    return lane.outgoing


def outcome(append: Append) -> type[HeadraceError] | None:
    error = append.future.exception()
    assert error is None or isinstance(error, HeadraceError)
    return None if error is None else type(error)


async def test_records_go_to_the_partition_of_their_key() -> None:
    """crc32 of the key, as librdkafka's consistent partitioner: any client finds the same."""
    waiting = Waiting(5, LIMIT)
    keys = [b"key %d" % n for n in range(50)]
    waiting.add(Batch([NewRecord(key, key) for key in keys]), new_append(), LIMIT)
    for lane in waiting.lanes:
        expected = [key for key in keys if crc32(key) % 5 == lane.partition]
        assert values(waiting.take(lane, LIMIT)) == expected


async def test_a_batch_is_cut_where_the_topic_takes_no_more() -> None:
    """Each piece fits, order is kept, and nothing is left behind."""
    waiting = Waiting(1, LIMIT)
    wanted = [b"%04d" % n for n in range(100)]
    waiting.add(Batch([NewRecord(b"k", value) for value in wanted]), new_append(), 500)
    seen: list[bytes] = []
    pieces = 0
    while parts := waiting.take(waiting.lanes[0], 500):
        assert sum(part.size for part in parts) <= 500 - BATCH_OVERHEAD
        seen += values(parts)
        pieces += 1
    assert seen == wanted
    assert pieces > 3


async def test_records_are_packed_for_the_place_they_will_have() -> None:
    """The sender does not number them anew, also where they fill more than one batch."""
    waiting = Waiting(1, 10 * LIMIT)
    room = 2_000
    for _ in range(3):
        records = [NewRecord(b"k", b"x" * 100)] * 5
        for _ in range(4):
            waiting.add(Batch(records), new_append(), room)
        while parts := waiting.take(waiting.lanes[0], room):
            counts = [part.packed.count for part in parts]
            assert [part.packed.first for part in parts] == [
                sum(counts[:at]) for at in range(len(parts))
            ]


async def test_a_part_of_the_middle_that_is_over_is_left_out() -> None:
    """What was packed behind it goes, in order, and nothing of it."""
    waiting = Waiting(1, LIMIT)
    late, lasting = new_append(expires_at=1.0), new_append(expires_at=9.0)
    for append, first in ((lasting, 0), (late, 3), (lasting, 6)):
        records = [NewRecord(b"k", b"%d" % n) for n in range(first, first + 3)]
        waiting.add(Batch(records), append, LIMIT)
    waiting.end_late(5.0, "why")
    waiting.add(Batch([NewRecord(b"k", b"9")]), lasting, LIMIT)
    kept = (0, 1, 2, 6, 7, 8, 9)
    assert values(waiting.take(waiting.lanes[0], LIMIT)) == [b"%d" % n for n in kept]


async def test_records_that_are_numbered_anew_still_fit() -> None:
    """Parts of two batches come together where an append between them is over; numbers that are
    longer then make no batch larger than the topic takes."""
    limit = 300_000
    waiting = Waiting(1, LIMIT)
    late, lasting = new_append(expires_at=1.0), new_append(expires_at=9.0)
    counts = (13_000, 12_000, *[100] * 100)
    for count in counts:
        waiting.add(Batch([NewRecord(b"k", b"v")] * count), lasting, limit)
        if count == counts[0]:
            waiting.add(Batch([NewRecord(b"k", b"v")] * 10_000), late, limit)
    waiting.end_late(5.0, "why")
    seen = 0
    while parts := waiting.take(waiting.lanes[0], limit):
        assert len(encode([part.packed for part in parts], (1, 0, 0), 0, "none")) <= limit
        seen += len(values(parts))
    assert seen == sum(counts)


async def test_batches_of_several_requests_share_a_batch() -> None:
    """What gathered behind a batch on its way goes together."""
    waiting = Waiting(1, LIMIT)
    for n in range(3):
        waiting.add(Batch([NewRecord(b"k", b"%d" % n)]), new_append(), LIMIT)
    assert values(waiting.take(waiting.lanes[0], LIMIT)) == [b"0", b"1", b"2"]


async def test_an_append_is_over_when_its_last_part_is_stored() -> None:
    """A success means every record, whichever partition it went to."""
    waiting = Waiting(8, LIMIT)
    append = new_append()
    waiting.add(Batch([NewRecord(b"%d" % n, b"v") for n in range(40)]), append, LIMIT)
    lanes = [lane for lane in waiting.lanes if lane.parts]
    assert len(lanes) > 1
    for lane in lanes:
        assert not append.future.done()
        for part in waiting.take(lane, LIMIT):
            part.append.part_stored()
            waiting.let_go(part)
    assert outcome(append) is None
    assert (waiting.held_bytes, waiting.is_empty) == (0, True)


async def test_a_record_too_large_for_the_topic_is_never_sent() -> None:
    """It is refused before anything is handed over; the rest of its batch, too."""
    waiting = Waiting(1, LIMIT)
    batch = Batch([NewRecord(b"k", b"small"), NewRecord(b"k", b"x" * 2000)])
    with pytest.raises(Overloaded, match=r"max\.message\.bytes"):
        waiting.add(batch, new_append(), 1000)
    assert waiting.is_empty


async def test_waiting_bytes_are_bounded() -> None:
    """Beyond the bound appends are refused, nothing of them kept; one alone always passes."""
    waiting = Waiting(1, 1000)
    waiting.add(Batch([NewRecord(b"k", b"x" * 5000)]), new_append(), LIMIT)
    held = waiting.held_bytes
    with pytest.raises(Overloaded, match="wait for Kafka"):
        waiting.add(Batch([NewRecord(b"k", b"y")]), new_append(), LIMIT)
    assert waiting.held_bytes == held


async def test_what_nobody_waits_for_any_more_is_not_sent() -> None:
    """A part whose append is over, or past its time, is dropped and its bytes are free."""
    waiting = Waiting(1, LIMIT)
    waiting.add(Batch([NewRecord(b"k", b"late")]), new_append(expires_at=1.0), LIMIT)
    waiting.add(Batch([NewRecord(b"k", b"in time")]), new_append(expires_at=9.0), LIMIT)
    waiting.end_late(5.0, "why")
    assert values(waiting.take(waiting.lanes[0], LIMIT)) == [b"in time"]
    waiting.add(Batch([NewRecord(b"k", b"late")]), new_append(expires_at=1.0), LIMIT)
    waiting.end_late(5.0, "why")
    assert not waiting.lanes[0].parts


@pytest.mark.parametrize(("is_in_doubt", "expected"), [(True, Unavailable), (False, Overloaded)])
async def test_a_failed_append_says_whether_it_may_be_stored(
    is_in_doubt: bool, expected: type[HeadraceError]
) -> None:
    """Refused by the broker: surely not. Without an answer: nobody knows."""
    waiting = Waiting(1, LIMIT)
    append = new_append()
    waiting.add(Batch([NewRecord(b"k", b"v")]), append, LIMIT)
    lane = waiting.lanes[0]
    send(lane, waiting.take(lane, LIMIT), is_in_doubt=is_in_doubt)
    waiting.fail_outgoing("why")
    assert outcome(append) is expected
    assert (waiting.held_bytes, waiting.is_empty) == (0, True)


async def test_a_refused_append_of_which_a_part_is_stored_may_be_stored() -> None:
    """One partition took it, another refused: the retry must be marked."""
    waiting = Waiting(8, LIMIT)
    append = new_append()
    waiting.add(Batch([NewRecord(b"%d" % n, b"v") for n in range(40)]), append, LIMIT)
    first, second, *_ = (lane for lane in waiting.lanes if lane.parts)
    for part in waiting.take(first, LIMIT):
        part.append.part_stored()
        waiting.let_go(part)
    send(second, waiting.take(second, LIMIT), is_in_doubt=False)
    waiting.fail_outgoing("refused")
    assert outcome(append) is Unavailable
    assert values(waiting.take(first, LIMIT)) == []


@pytest.mark.parametrize(("is_packed", "expected"), [(True, Unavailable), (False, Overloaded)])
async def test_an_append_that_is_late_looks_at_what_is_on_its_way(
    is_packed: bool, expected: type[HeadraceError]
) -> None:
    """Its time is over while a batch with a part of it is out: even if the broker refused that
    batch, it is sent again. What only waits is not sent any more."""
    waiting = Waiting(1, LIMIT)
    append = new_append()
    waiting.add(Batch([NewRecord(b"k", b"v")]), append, LIMIT)
    lane = waiting.lanes[0]
    if is_packed:
        send(lane, waiting.take(lane, LIMIT), is_in_doubt=False)
    waiting.end_late(append.expires_at - 1, "not yet")
    assert not append.future.done()
    waiting.end_late(append.expires_at, "why")
    assert outcome(append) is expected
    assert waiting.take(lane, LIMIT) == []


async def test_the_rest_of_a_batch_that_failed_is_not_sent() -> None:
    """Records of one batch never overtake one another: what follows a lost piece is dropped."""
    waiting = Waiting(1, LIMIT)
    append = new_append()
    records = [NewRecord(b"k", b"%04d" % n) for n in range(100)]
    waiting.add(Batch(records), append, 500)
    lane = waiting.lanes[0]
    send(lane, waiting.take(lane, 500), is_in_doubt=True)
    waiting.fail_outgoing("lost")
    assert outcome(append) is Unavailable
    assert waiting.take(lane, 500) == []
    assert (waiting.held_bytes, waiting.is_empty) == (0, True)
