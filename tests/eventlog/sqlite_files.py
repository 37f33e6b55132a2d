"""Opening the local log in a folder, as the tests beside this file do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from headrace.eventlog.port import Committed, Record
from headrace.eventlog.sqlite.appender import SqliteAppender
from headrace.eventlog.sqlite.membership import SqliteMembership
from headrace.runtime.clock import Clock, SystemClock
from tests.eventlog.adapters import owned, read_all

RESERVE_BYTES = 256 * 1024


@asynccontextmanager
async def appending(
    folder: Path,
    *,
    max_bytes: int = 2**40,
    clock: Clock | None = None,
    reserve_bytes: int = RESERVE_BYTES,
) -> AsyncIterator[SqliteAppender]:
    """An open appender, stopped in the end."""
    appender = SqliteAppender.open(
        folder / "log.sqlite",
        positions=folder / "positions.sqlite",
        clock=clock or SystemClock(),
        max_bytes=max_bytes,
        reserve_bytes=reserve_bytes,
    )
    try:
        yield appender
    finally:
        await appender.stop()


def membership(folder: Path) -> SqliteMembership:
    """A processor's side of the log in this folder."""
    return SqliteMembership(folder / "log.sqlite", folder / "positions.sqlite", SystemClock())


async def stored(folder: Path) -> list[Record]:
    """Every record the log in this folder holds."""
    async with owned(membership(folder)) as assignment:
        return await read_all(assignment)


async def settle_everything(folder: Path) -> None:
    """Commit the end of the log, as a processor does that has stored it all."""
    async with owned(membership(folder)) as assignment:
        await assignment.commit(Committed((await assignment.ends())[1]))
