"""What every log does, as `headrace/eventlog/port.py` says: one suite, each adapter a parameter."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from headrace.eventlog.port import Batch, Committed, KeyRecord
from headrace.schemas.errors import Fenced, Overloaded
from tests.eventlog.adapters import (
    LogUnderTest,
    MemoryLogUnderTest,
    SqliteLogUnderTest,
    append_when_possible,
    batch,
    owned,
    read,
    read_all,
)
from tests.eventlog.kafka_log import KafkaLogUnderTest


@pytest.fixture(params=["memory", "sqlite", "kafka"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LogUnderTest]:
    log = await open_log(request, tmp_path)
    yield log
    await log.stop()


@pytest.fixture(params=["memory", "sqlite"])
async def keeping_log(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[LogUnderTest]:
    """A log that keeps keys. Kafka's does not, and a key store stands beside it."""
    log = await open_log(request, tmp_path)
    yield log
    await log.stop()


async def open_log(request: pytest.FixtureRequest, folder: Path) -> LogUnderTest:
    match request.param:
        case "memory":
            return MemoryLogUnderTest()
        case "sqlite":
            return SqliteLogUnderTest(folder)
        case _:
            return await KafkaLogUnderTest.open(request.getfixturevalue("kafka"))


def key_record(log: LogUnderTest, value: bytes = b"first", seconds: float = 60) -> KeyRecord:
    return KeyRecord(b"a key", value, log.clock.now() + timedelta(seconds=seconds))


# Appending and reading


async def test_what_was_appended_is_read_in_order_with_all_it_carried(log: LogUnderTest) -> None:
    """Records come back in order, with key, value, headers and the log's own time."""
    await log.appender.append(batch(b"1", b"2", mark=b"retry"))
    async with owned(log.membership()) as assignment:
        found = await read_all(assignment)
        assert assignment.log_id == log.appender.log_id
    assert [(r.key, r.value, r.headers) for r in found] == [
        (b"key", b"1", {"mark": b"retry"}),
        (b"key", b"2", {"mark": b"retry"}),
    ]
    (appended_at,) = {r.appended_at for r in found}
    assert appended_at.tzinfo is UTC
    if not log.has_own_time:
        assert appended_at == log.clock.now()


async def test_concurrent_batches_stay_whole(log: LogUnderTest) -> None:
    """The records of one batch lie side by side, whatever is appended at the same time."""
    await asyncio.gather(
        *(log.appender.append(batch(*(b"%d %d" % (n, i) for i in range(n)))) for n in range(40))
    )
    async with owned(log.membership()) as assignment:
        found = [tuple(map(int, r.value.split())) for r in await read_all(assignment)]
    batches: list[list[int]] = []
    for number, index in found:
        if index == 0:
            batches.append([number])
        else:
            batches[-1].append(number)
    assert sorted(batches) == sorted([n] * n for n in range(1, 40))


async def test_positions_rise_and_are_held_between_the_ends(log: LogUnderTest) -> None:
    """A position names one record, and `ends` says which there are."""
    async with owned(log.membership()) as assignment:
        first, end = await assignment.ends()
        assert first == end
        await log.appender.append(batch(b"1", b"2"))
        await log.appender.append(batch(b"3"))
        positions = [r.position for r in await read_all(assignment)]
        assert positions == sorted(set(positions))
        earliest, end = await assignment.ends()
        assert earliest <= positions[0]
        assert positions[-1] < end


async def test_reading_begins_in_the_middle_of_a_batch(log: LogUnderTest) -> None:
    """A batch is no unit of reading: any position is a start."""
    await log.appender.append(batch(b"1", b"2", b"3"))
    await log.appender.append(batch(b"4"))
    async with owned(log.membership()) as assignment:
        everything = await read_all(assignment)
        for index, record in enumerate(everything):
            assert list(await read(assignment, record.position)) == everything[index:]


@pytest.mark.parametrize(("max_records", "max_bytes"), [(2, 10**9), (100, 8), (1, 1)])
async def test_reads_are_bounded_and_go_on_where_they_ended(
    log: LogUnderTest, max_records: int, max_bytes: int
) -> None:
    """No read is larger than asked for, unless one record is, and together they are all."""
    values = [b"%04d" % number for number in range(7)]
    await log.appender.append(batch(*values[:5]))
    await log.appender.append(batch(*values[5:]))
    async with owned(log.membership()) as assignment:
        position, end = await assignment.ends()
        seen: list[bytes] = []
        while position < end:
            found = await read(assignment, position, max_records=max_records, max_bytes=max_bytes)
            held_bytes = sum(len(r.key) + len(r.value) for r in found)
            assert len(found) == 1 or (len(found) <= max_records and held_bytes <= max_bytes)
            seen += [r.value for r in found]
            position = found[-1].position + 1
        assert seen == values


async def test_a_large_record_is_read_whatever_the_bound(log: LogUnderTest) -> None:
    """One record of 10 MiB passes, though `max_bytes` is far below."""
    value = bytes(range(256)) * (10 * 4096)
    await log.appender.append(batch(b"small", value))
    async with owned(log.membership()) as assignment:
        first, _ = await assignment.ends()
        (small,) = await read(assignment, first, max_bytes=100)
        (large,) = await read(assignment, small.position + 1, max_bytes=100)
        assert large.value == value


async def test_an_empty_batch_is_nothing(log: LogUnderTest) -> None:
    """Appending no records succeeds and leaves the log as it was."""
    async with owned(log.membership()) as assignment:
        before = await assignment.ends()
        await log.appender.append(Batch([]))
        assert await assignment.ends() == before


async def test_a_read_at_the_end_waits_for_the_next_record(log: LogUnderTest) -> None:
    """A reader that has everything gets the next record as it comes."""
    async with owned(log.membership()) as assignment:
        _, end = await assignment.ends()
        assert list(await read(assignment, end, wait_seconds=0.01)) == []
        reading = asyncio.create_task(read(assignment, end, wait_seconds=30))
        await asyncio.sleep(0.05)
        assert not reading.done()
        await log.appender.append(batch(b"at last"))
        assert [r.value for r in await reading] == [b"at last"]


@pytest.mark.parametrize("offset", [-1, 1])
async def test_a_position_out_of_range_is_told(log: LogUnderTest, offset: int) -> None:
    """Before the earliest and after the end there is nothing to wait for."""
    await log.appender.append(batch(b"1", b"2", b"3"))
    async with owned(log.membership()) as assignment:
        _, end = await assignment.ends()
        await assignment.commit(Committed(end))
        await log.drop_settled(assignment, end)
        assert await assignment.ends() == (end, end)
        with pytest.raises(LookupError, match=str(end + offset)):
            await read(assignment, end + offset, wait_seconds=30)


async def test_positions_are_never_used_again(log: LogUnderTest) -> None:
    """A log that was drained and whose collector started anew goes on counting."""
    await log.appender.append(batch(b"1", b"2", b"3"))
    async with owned(log.membership()) as assignment:
        _, end = await assignment.ends()
        await assignment.commit(Committed(end))
        await log.drop_settled(assignment, end)
    await log.restart_appender()
    await log.appender.append(batch(b"4"))
    async with owned(log.membership()) as assignment:
        assert [(r.position, r.value) for r in await read_all(assignment)] == [(end, b"4")]


async def test_retention_keeps_what_is_not_settled(log: LogUnderTest) -> None:
    """What lies at and behind the committed position stays, its whole range included."""
    await log.appender.append(batch(b"1"))
    await log.appender.append(batch(b"2"))
    await log.appender.append(batch(b"3"))
    async with owned(log.membership()) as assignment:
        positions = [r.position for r in await read_all(assignment)]
        await assignment.commit(Committed(positions[1], pending_to=positions[2]))
        await log.drop_settled(assignment, positions[1])
        assert [r.value for r in await read_all(assignment)] == [b"2", b"3"]


async def test_a_restart_of_both_sides_keeps_everything(log: LogUnderTest) -> None:
    """Records, the committed range and the log's id are there after a restart."""
    await log.appender.append(batch(b"1", b"2", b"3"))
    log_id = log.appender.log_id
    async with owned(log.membership()) as assignment:
        first, end = await assignment.ends()
        await assignment.commit(Committed(first + 1, pending_to=end - 1))
    await log.restart_appender()
    assert log.appender.log_id == log_id
    async with owned(log.membership()) as assignment:
        assert await assignment.committed() == Committed(first + 1, end - 1)
        values = [r.value for r in await read_all(assignment, first + 1)]
        assert values == [b"2", b"3"]


async def test_cancelling_the_caller_does_not_undo_the_append(log: LogUnderTest) -> None:
    """A client that hangs up may have its events stored; others are not disturbed."""
    abandoned = log.appender.append(batch(b"abandoned"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    abandoned.cancel()
    await log.appender.append(batch(b"other"))
    async with owned(log.membership()) as assignment:
        assert [r.value for r in await read_all(assignment)] == [b"abandoned", b"other"]


async def test_stopping_stores_what_was_handed_over_and_takes_no_more(log: LogUnderTest) -> None:
    """`stop` is orderly: what came before it is stored, what comes after it is refused."""
    handed_over = [log.appender.append(batch(b"%d" % n)) for n in range(9)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await log.appender.stop()
    await asyncio.gather(*handed_over)
    with pytest.raises(Overloaded):
        await log.appender.append(batch(b"late"))
    async with owned(log.membership()) as assignment:
        assert len(await read_all(assignment)) == 9


# Owning and committing


async def test_nothing_is_committed_in_the_beginning(log: LogUnderTest) -> None:
    """Without a commit there is no position, rather than position 0."""
    async with owned(log.membership()) as assignment:
        assert await assignment.committed() is None


async def test_a_new_owner_sees_the_range_that_was_begun(log: LogUnderTest) -> None:
    """The pending range survives its owner, and ends with the commit behind it."""
    await log.appender.append(batch(*[b"x"] * 9))
    async with owned(log.membership()) as first:
        start, _ = await first.ends()
        await first.commit(Committed(start, pending_to=start + 4))
    async with owned(log.membership()) as second:
        assert await second.committed() == Committed(start, pending_to=start + 4)
        await second.commit(Committed(start, pending_to=start + 4))
        await second.commit(Committed(start + 5))
        assert await second.committed() == Committed(start + 5)


async def test_an_owner_that_was_replaced_is_fenced(log: LogUnderTest) -> None:
    """Of two owners only the newer one commits, also at the same position."""
    await log.appender.append(batch(b"1", b"2"))
    async with owned(log.membership()) as frozen:
        await log.freeze_owner()
        async with owned(log.membership()) as newer:
            start, end = await newer.ends()
            with pytest.raises(Fenced):
                await frozen.commit(Committed(start))
            await newer.commit(Committed(end))
            with pytest.raises(Fenced):
                await frozen.commit(Committed(end))
            assert await newer.committed() == Committed(end)


async def test_a_commit_never_goes_back(log: LogUnderTest) -> None:
    """A position before the committed one is refused, and changes nothing."""
    await log.appender.append(batch(b"1", b"2"))
    async with owned(log.membership()) as assignment:
        start, end = await assignment.ends()
        await assignment.commit(Committed(end))
        with pytest.raises(Fenced):
            await assignment.commit(Committed(start))
        assert await assignment.committed() == Committed(end)


async def test_lost_commits_leave_the_records(log: LogUnderTest) -> None:
    """Who takes over without a committed position still finds what is held."""
    await log.appender.append(batch(b"1", b"2"))
    async with owned(log.membership()) as assignment:
        await assignment.commit(Committed((await assignment.ends())[0]))
    await log.forget_commits()
    async with owned(log.membership()) as assignment:
        assert await assignment.committed() is None
        assert len(await read_all(assignment)) == 2


async def test_stopping_revokes_ends_waiting_and_waits_for_the_release(log: LogUnderTest) -> None:
    """A worker is told to end, its read returns, and `stop` returns after it has released."""
    membership = log.membership()
    assignments = aiter(membership.assignments())
    assignment = await anext(assignments)
    _, end = await assignment.ends()
    reading = asyncio.create_task(read(assignment, end, wait_seconds=30))
    await asyncio.sleep(0.05)
    stopping = asyncio.create_task(membership.stop())
    await assignment.revoked.wait()
    assert list(await reading) == []
    assert not stopping.done()
    await assignment.release()
    await stopping
    assert [late async for late in assignments] == []


async def test_a_log_in_the_old_ones_place_is_assigned_anew(log: LogUnderTest) -> None:
    """The worker of the old log is revoked; positions of the two logs never meet."""
    await log.appender.append(batch(b"old"))
    membership = log.membership()
    assignments = aiter(membership.assignments())
    old = await anext(assignments)
    following = asyncio.ensure_future(anext(assignments))
    await old.commit(Committed((await old.ends())[1]))
    await log.replace()
    await log.appender.append(batch(b"new"))
    await old.revoked.wait()
    assert not following.done()
    await old.release()
    new = await following
    assert new.log_id == log.appender.log_id != old.log_id
    assert await new.committed() is None
    assert [r.value for r in await read_all(new)] == [b"new"]
    await new.release()
    await membership.stop()


# Keys


async def test_a_key_is_recalled_until_it_expires(keeping_log: LogUnderTest) -> None:
    """A key record is there after its append, until its time, and not one moment longer."""
    log = keeping_log
    assert await log.appender.recall(b"a key", log.clock.now()) is None
    kept = key_record(log, seconds=60)
    await log.appender.append(batch(b"1"), key_record=kept)
    assert await log.appender.recall(b"a key", log.clock.now()) == kept
    assert await log.appender.recall(b"a", log.clock.now()) is None
    log.clock.advance(59.999)
    assert await log.appender.recall(b"a key", log.clock.now()) == kept
    log.clock.advance(0.001)
    assert await log.appender.recall(b"a key", log.clock.now()) is None


async def test_a_key_record_replaces_the_one_before(keeping_log: LogUnderTest) -> None:
    """The last record of a key counts; it needs no records beside it."""
    log = keeping_log
    await log.appender.append(batch(b"1"), key_record=key_record(log, b"first"))
    await log.appender.append(Batch([]), key_record=key_record(log, b"second"))
    found = await log.appender.recall(b"a key", log.clock.now())
    assert found is not None
    assert found.value == b"second"


async def test_keys_are_kept_since_the_log_was_made(keeping_log: LogUnderTest) -> None:
    """A restart leaves no gap in the keys, neither in what is kept nor in what is told."""
    log = keeping_log
    created_at = await log.appender.keys_since()
    assert created_at == log.clock.now()
    kept = key_record(log, seconds=7200)
    await log.appender.append(batch(b"1"), key_record=kept)
    log.clock.advance(3600)
    await log.restart_appender()
    assert await log.appender.keys_since() == created_at
    assert await log.appender.recall(b"a key", log.clock.now()) == kept


# Trouble


async def test_a_refused_append_stores_nothing_and_the_log_recovers(log: LogUnderTest) -> None:
    """Neither records nor key of a refused batch are stored; later ones are."""
    await log.appender.append(batch(b"before"))
    assert log.appender.is_writable()
    await log.break_appends()
    with pytest.raises(Overloaded) as refusal:
        await log.appender.append(batch(b"refused"), key_record=key_record(log))
    assert refusal.value.retry_after > 0
    assert not log.appender.is_writable()
    await log.mend_appends()
    await append_when_possible(log.appender, batch(b"after"))
    assert log.appender.is_writable()
    assert await log.appender.recall(b"a key", log.clock.now()) is None
    async with owned(log.membership()) as assignment:
        assert [r.value for r in await read_all(assignment)] == [b"before", b"after"]


async def test_a_refused_append_is_let_go(log: LogUnderTest) -> None:
    """Its records do not wait for the garbage collector, which looks seldom: refusals come when
    there is no room."""
    await log.appender.append(batch(b"before"))
    await log.break_appends()
    with contextlib.suppress(Overloaded):
        await log.appender.append(batch(b"found out"))
    value = b"refused" * 10
    held = sys.getrefcount(value)
    gc.disable()
    try:
        with contextlib.suppress(Overloaded):
            await log.appender.append(batch(value))
            raise AssertionError("it is refused")
        await asyncio.sleep(0)  # whoever told of it is gone, too
        assert sys.getrefcount(value) == held
    finally:
        gc.enable()
        await log.mend_appends()


async def test_each_refused_caller_has_an_error_of_its_own(log: LogUnderTest) -> None:
    """Callers whose batches fail together can each add to their error undisturbed."""
    await log.break_appends()
    outcomes = await asyncio.gather(
        *(log.appender.append(batch(b"%d" % n)) for n in range(5)), return_exceptions=True
    )
    await log.mend_appends()
    assert [type(outcome) for outcome in outcomes] == [Overloaded] * 5
    assert len({id(outcome) for outcome in outcomes}) == 5
