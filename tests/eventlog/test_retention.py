"""Retention: what is settled leaves, the files stay small, and readers do not change that."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

from headrace.eventlog.port import Assignment, Committed
from headrace.eventlog.sqlite.file import CHECKPOINT_BYTES, LogFile, NewChunk
from headrace.runtime.clock import SystemClock
from tests.eventlog.adapters import batch, owned, read, until
from tests.eventlog.sqlite_files import appending, membership, settle_everything, stored

MEBIBYTE = 1024 * 1024
CHUNK = batch(os.urandom(200_000))


def size(path: Path) -> int:
    return path.stat().st_size


async def settle_as_it_comes(assignment: Assignment, records: int) -> None:
    position = (await assignment.ends())[0]
    while position <= records:
        found = await read(assignment, position, wait_seconds=1)
        if found:
            position = found[-1].position + 1
            await assignment.commit(Committed(position))


async def is_empty(assignment: Assignment) -> bool:
    earliest, end = await assignment.ends()
    return earliest == end


async def test_the_files_stay_small_while_everything_is_settled(tmp_path: Path) -> None:
    """200 MB through a log whose processor keeps up leave a file and a WAL of a fraction."""
    async with (
        appending(tmp_path) as appender,
        owned(membership(tmp_path)) as assignment,
    ):
        settling = asyncio.create_task(settle_as_it_comes(assignment, 1000))
        for _ in range(250):
            await asyncio.gather(*(appender.append(CHUNK) for _ in range(4)))
            await asyncio.sleep(0.003)  # a processor shares this event loop
        await settling
        await until(lambda: is_empty(assignment))
        assert size(tmp_path / "log.sqlite") < 100 * MEBIBYTE
        assert size(tmp_path / "log.sqlite-wal") < 8 * CHECKPOINT_BYTES


async def test_a_backlog_that_was_settled_gives_its_disk_back(tmp_path: Path) -> None:
    """After a rush the file is shortened again, but for some free pages."""
    async with appending(tmp_path) as appender:
        for _ in range(100):
            await asyncio.gather(*(appender.append(CHUNK) for _ in range(5)))
        assert size(tmp_path / "log.sqlite") > 90 * MEBIBYTE
        await settle_everything(tmp_path)

        async def is_short() -> bool:
            return size(tmp_path / "log.sqlite") <= 72 * MEBIBYTE

        await until(is_short)
        await appender.append(batch(b"after"))
    assert [record.value for record in await stored(tmp_path)] == [b"after"]


async def test_a_reader_that_stays_does_not_stop_appends(tmp_path: Path) -> None:
    """A stranger's open read transaction costs WAL, which shrinks again when it has ended."""
    async with appending(tmp_path) as appender:
        await appender.append(CHUNK)
        reader = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM chunks").fetchone()
        for _ in range(100):
            await appender.append(CHUNK)
        grown = size(tmp_path / "log.sqlite-wal")
        reader.close()

        async def is_cut_short() -> bool:
            await appender.append(CHUNK)
            return size(tmp_path / "log.sqlite-wal") < min(grown, 4 * CHECKPOINT_BYTES)

        await until(is_cut_short)


async def test_without_positions_nothing_is_deleted(tmp_path: Path) -> None:
    """As long as no processor ever committed, every record stays."""
    async with appending(tmp_path) as appender:
        await appender.append(batch(b"1"))
        await asyncio.sleep(0.6)  # two rounds of retention
    assert len(await stored(tmp_path)) == 1


async def test_positions_that_cannot_be_read_stop_retention_only(tmp_path: Path) -> None:
    """A broken positions file is the processor's trouble; the collector goes on taking events."""
    (tmp_path / "positions.sqlite").write_bytes(b"not a database, " * 1000)
    async with appending(tmp_path) as appender:
        await appender.append(batch(b"1"))
        await asyncio.sleep(0.6)  # two rounds of retention
        await appender.append(batch(b"2"))
        assert appender.is_writable()


def test_deleting_goes_in_small_steps(tmp_path: Path) -> None:
    """One step deletes a part only, and says that there is more: appends come in between."""
    file = LogFile.open(tmp_path / "log.sqlite", now=SystemClock().now())
    now = SystemClock().now()
    for _ in range(40):
        file.append([NewChunk(1, os.urandom(20_000)) for _ in range(50)], [], now)
    steps = 1
    while file.delete_settled(before=2001):
        steps += 1
    assert steps > 2
    assert not file.holds_records()
    file.close()
