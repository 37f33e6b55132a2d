"""What the log in memory has beyond the contract: partitions, and faults on demand."""

from __future__ import annotations

from zlib import crc32

import pytest

from headrace.eventlog.memory import MemoryLog
from headrace.eventlog.port import Batch, NewRecord
from headrace.runtime.clock import ManualClock
from headrace.schemas.errors import Unavailable
from tests.eventlog.adapters import batch


async def test_a_key_always_goes_to_the_same_partition() -> None:
    """The partition is CRC-32 of the key, as librdkafka's consistent partitioner has it."""
    log = MemoryLog(ManualClock(), partitions=3)
    keys = [b"key %d" % number for number in range(30)]
    await log.appender().append(Batch([NewRecord(key, b"") for key in keys]))
    for partition in range(3):
        expected = [key for key in keys if crc32(key) % 3 == partition]
        assert [record.key for record in log.records(partition)] == expected


async def test_a_membership_gets_every_partition() -> None:
    """One process owns them all, each by an assignment of its own."""
    membership = MemoryLog(ManualClock(), partitions=3).membership()
    assignments = aiter(membership.assignments())
    held = [await anext(assignments) for _ in range(3)]
    assert [assignment.partition for assignment in held] == [0, 1, 2]
    for assignment in held:
        await assignment.release()
    await membership.stop()


async def test_an_append_that_fails_may_have_stored_its_batch() -> None:
    """`Unavailable` leaves the caller in doubt; the fake can do both."""
    log = MemoryLog(ManualClock())
    log.fail_appends(Unavailable("no answer"), stored=True)
    with pytest.raises(Unavailable):
        await log.appender().append(batch(b"in doubt"))
    log.fail_appends(None)
    assert [record.value for record in log.records()] == [b"in doubt"]
