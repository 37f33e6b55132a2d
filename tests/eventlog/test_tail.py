"""The processor's side of the local log: files that are not there yet, or left alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

from headrace.eventlog.port import Committed
from headrace.eventlog.sqlite.inspect import inspect_log
from headrace.runtime.clock import ManualClock
from tests.eventlog.adapters import batch, owned, read
from tests.eventlog.sqlite_files import appending, membership


async def test_a_processor_that_is_first_waits_for_the_log(tmp_path: Path) -> None:
    """Started before the collector ever was, it is assigned the log once it is made."""
    member = membership(tmp_path)
    assignments = aiter(member.assignments())
    waiting = asyncio.ensure_future(anext(assignments))
    await asyncio.sleep(0.15)
    assert not waiting.done()
    async with appending(tmp_path) as appender:
        assignment = await waiting
        assert assignment.log_id == appender.log_id
        await assignment.release()
        await member.stop()


async def test_a_processor_that_waits_for_the_log_can_be_stopped(tmp_path: Path) -> None:
    """Stopping does not need an assignment, nor does it make the log."""
    member = membership(tmp_path)
    assignments = aiter(member.assignments())
    waiting = asyncio.ensure_future(anext(assignments, None))
    await asyncio.sleep(0.05)
    await member.stop()
    assert await waiting is None
    assert not inspect_log(tmp_path / "log.sqlite", tmp_path / "positions.sqlite")


async def test_the_processor_goes_on_when_the_collector_is_away(tmp_path: Path) -> None:
    """Reading and committing need the files alone, and a new collector is read on."""
    async with appending(tmp_path) as appender:
        await appender.append(batch(b"1"))
    async with owned(membership(tmp_path)) as assignment:
        start, end = await assignment.ends()
        assert [r.value for r in await read(assignment, start)] == [b"1"]
        await assignment.commit(Committed(end))
        reading = asyncio.create_task(read(assignment, end, wait_seconds=30))
        async with appending(tmp_path) as appender:
            await appender.append(batch(b"2"))
            assert [r.value for r in await reading] == [b"2"]


async def test_an_end_of_the_log_is_seen_while_a_read_waits(tmp_path: Path) -> None:
    """`ends` feeds gauges and must not wait with a read that waits for records."""
    async with appending(tmp_path), owned(membership(tmp_path)) as assignment:
        reading = asyncio.create_task(read(assignment, 1, wait_seconds=30))
        await asyncio.sleep(0.05)
        assert await assignment.ends() == (1, 1)
        assert not reading.done()


async def test_inspecting_tells_how_far_the_log_is_settled(tmp_path: Path) -> None:
    """`headrace status` sees ends, settled position and the age of what waits."""
    log, positions = tmp_path / "log.sqlite", tmp_path / "positions.sqlite"
    clock = ManualClock()
    assert inspect_log(log, positions) is None
    async with appending(tmp_path, clock=clock) as appender:
        await appender.append(batch(b"1", b"2"))
        clock.advance(60)
        await appender.append(batch(b"3"))
        clock.advance(5)
        state = inspect_log(log, positions)
        assert state is not None
        assert (state.log_id, state.earliest, state.end) == (appender.log_id, 1, 4)
        assert (state.settled, state.unsettled, state.lag_seconds(clock.now())) == (None, 3, 65)
        assert state.size_bytes > 0
    async with owned(membership(tmp_path)) as assignment:
        await assignment.commit(Committed(3))
        state = inspect_log(log, positions)
        assert state is not None
        assert (state.settled, state.unsettled, state.lag_seconds(clock.now())) == (3, 1, 5)
        await assignment.commit(Committed(4))
        state = inspect_log(log, positions)
        assert state is not None
        assert (state.settled, state.unsettled, state.lag_seconds(clock.now())) == (4, 0, 0)
