"""How ranges are cut, and the tokens of their blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import pytest

from headrace.eventlog.memory import MemoryAssignment, MemoryLog
from headrace.eventlog.port import Batch, NewRecord, Record
from headrace.processor.decode import decode
from headrace.processor.ranges import WIDEST, Flush, Range, number, read_exactly, read_range
from headrace.runtime.clock import ManualClock
from tests.processor.trial import PATIENCE_SECONDS

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SOON = Flush(rows=4, bytes=100, seconds=0.0, poll_seconds=0.001)


def make_log(count: int, *, size: int = 1) -> tuple[MemoryLog, MemoryAssignment]:
    """A log of so many records of so many bytes, and its owner."""
    log = MemoryLog(ManualClock())
    log.store(Batch([NewRecord(b"", b"x" * size)] * count), None)
    return log, MemoryAssignment(log, 0)


def make_range(values: Sequence[bytes], *, first: int = 1, log_id: str = "log") -> Range:
    """A range that has its token."""
    records = [Record(first + i, b"", value, {}, NOON) for i, value in enumerate(values)]
    range_ = Range(log_id, 0, records)
    decode(range_)
    number(range_)
    return range_


def positions(records: Sequence[Record]) -> list[int]:
    return [record.position for record in records]


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (0, 1, []),
        (3, 1, [1, 2, 3]),
        (4, 1, [1, 2, 3, 4]),
        (9, 1, [1, 2, 3, 4]),
        (9, 50, [1, 2]),
        (9, 1000, [1]),
    ],
)
async def test_a_range_ends_with_rows_bytes_or_age(
    count: int, size: int, expected: list[int]
) -> None:
    """Whichever comes first; a record larger than the bound is a range of its own."""
    log, assignment = make_log(count, size=size)
    assert positions(await read_range(assignment, 1, SOON, log.clock)) == expected


async def test_records_gather_after_the_last_range() -> None:
    """Those of later requests go into the same range."""
    log, assignment = make_log(1)
    flush = msgspec.structs.replace(SOON, seconds=30.0)
    began = log.clock.monotonic()
    reading = asyncio.create_task(read_range(assignment, 1, flush, log.clock, last_began=began))
    await asyncio.sleep(0)
    log.store(Batch([NewRecord(b"", b"y")]), None)
    await asyncio.sleep(0)
    assert not reading.done()
    assignment.revoke()
    assert positions(await reading) == [1, 2]


async def test_who_comes_alone_does_not_wait() -> None:
    """Where no range was begun lately there is nothing to wait for."""
    log, assignment = make_log(1)
    assert isinstance(log.clock, ManualClock)
    flush = msgspec.structs.replace(SOON, seconds=3600.0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert positions(await read_range(assignment, 1, flush, log.clock)) == [1]
    began = log.clock.monotonic()
    log.clock.advance(3601)
    log.store(Batch([NewRecord(b"", b"y")]), None)
    async with asyncio.timeout(PATIENCE_SECONDS):
        found = await read_range(assignment, 2, flush, log.clock, last_began=began)
    assert positions(found) == [2]


async def test_a_record_that_is_old_already_does_not_wait() -> None:
    """A backlog is not slowed by how often ranges are begun."""
    log, assignment = make_log(3)
    assert isinstance(log.clock, ManualClock)
    log.clock.advance(3601)
    flush = msgspec.structs.replace(SOON, seconds=3600.0)
    began = log.clock.monotonic()
    async with asyncio.timeout(PATIENCE_SECONDS):
        found = await read_range(assignment, 1, flush, log.clock, last_began=began)
    assert positions(found) == [1, 2, 3]


async def test_a_range_is_never_wider_than_the_bound() -> None:
    """However few records lie in it: what may be half written has to stay bounded."""
    log, assignment = make_log(2)
    log.partitions[0].end = WIDEST + 1
    log.store(Batch([NewRecord(b"", b"x")]), None)
    assert positions(await read_range(assignment, 1, SOON, log.clock)) == [1, 2]


@pytest.mark.parametrize("last", [1, 3, 4, 8, 9])
async def test_an_announced_range_is_read_exactly(last: int) -> None:
    """Whatever this owner's own bounds are."""
    _, assignment = make_log(9)
    assert positions(await read_exactly(assignment, 1, last, SOON)) == list(range(1, last + 1))


def test_a_token_says_where_and_what() -> None:
    """The same input has the same token; another log, range or content has another."""
    values = [b"one", b"two"]
    token = make_range(values).token
    # What another version announced is repeated under the same token.
    assert token == "log:0:1-2:03607426797c3ab35728e1dd7b8519bd"
    assert make_range(values).token == token
    others = [
        make_range([b"one", b"TWO"]),
        make_range([b"onet", b"wo"]),
        make_range(values, first=2),
        make_range(values, log_id="other"),
    ]
    assert token not in {other.token for other in others}


def test_a_blocks_token_says_which_positions_it_holds() -> None:
    """Other rows of the same range have another token; so has another table."""
    range_ = make_range([b"one", b"two"])
    token = range_.token_of("rejected", [1])
    assert token == range_.token_of("rejected", [1])
    assert token not in {range_.token_of("rejected", [1, 2]), range_.token_of("duplicates", [1])}
