"""Retention: what is settled leaves, the files stay small, and readers do not change that."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

from headrace.eventlog.port import Committed
from headrace.eventlog.sqlite.chunk import NewChunk
from headrace.eventlog.sqlite.file import CHECKPOINT_BYTES, LogFile
from headrace.runtime.clock import SystemClock
from tests.eventlog.adapters import batch, owned, until
from tests.eventlog.sqlite_files import appending, membership, stored

MEBIBYTE = 1024 * 1024
CHUNK = batch(os.urandom(200_000))


def size(path: Path) -> int:
    return path.stat().st_size


async def test_the_files_stay_small_while_everything_is_settled(tmp_path: Path) -> None:
    """80 MB through a log whose processor keeps up leave a file and a WAL of a fraction."""
    async with (
        appending(tmp_path) as appender,
        owned(membership(tmp_path)) as assignment,
    ):

        async def is_empty() -> bool:
            earliest, end = await assignment.ends()
            return earliest == end

        for _ in range(10):
            await asyncio.gather(*(appender.append(CHUNK) for _ in range(40)))
            await assignment.commit(Committed((await assignment.ends())[1]))
            await until(is_empty)
        assert size(tmp_path / "log.sqlite") < 20 * MEBIBYTE
        assert size(tmp_path / "log.sqlite-wal") < 5 * CHECKPOINT_BYTES


def test_free_pages_are_given_back(tmp_path: Path) -> None:
    """After a backlog was settled the file is shortened, but for what it is told to keep."""
    now = SystemClock().now()
    file = LogFile.open(tmp_path / "log.sqlite", now=now)
    for _ in range(10):
        file.append([NewChunk(1, os.urandom(200_000)) for _ in range(10)], [], now)
    while file.delete_settled(before=100):
        pass
    while file.give_pages_back(keep_bytes=2 * MEBIBYTE):
        pass
    assert file.checkpoint(truncate=True)
    assert size(tmp_path / "log.sqlite") < 4 * MEBIBYTE
    file.append([NewChunk(1, b"after")], [], now)
    file.close()


def test_no_page_is_moved_while_a_backlog_is_settled(tmp_path: Path) -> None:
    """Free pages stay until few rows are left: moving those that go next would be for nothing."""
    now = SystemClock().now()
    file = LogFile.open(tmp_path / "log.sqlite", now=now)
    for _ in range(12):
        file.append([NewChunk(1, os.urandom(MEBIBYTE)) for _ in range(10)], [], now)
    while file.delete_settled(before=81):
        pass
    free = file.free_bytes()
    assert free > 70 * MEBIBYTE
    assert not file.give_pages_back()
    assert file.free_bytes() == free
    while file.delete_settled(before=116):
        pass
    free = file.free_bytes()
    assert file.give_pages_back()
    assert file.free_bytes() < free
    file.close()


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
