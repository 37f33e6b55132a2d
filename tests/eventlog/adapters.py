"""The logs under test, each with the faults a test may ask of it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from headrace.eventlog.memory import MemoryLog
from headrace.eventlog.port import Appender, Assignment, Batch, Membership, NewRecord, Record
from headrace.eventlog.sqlite.appender import SqliteAppender
from headrace.eventlog.sqlite.membership import SqliteMembership
from headrace.runtime.clock import ManualClock
from headrace.schemas.errors import Overloaded

PATIENCE_SECONDS = 20.0


class LogUnderTest(Protocol):
    """A log and what can happen to it. Adapters to come implement this and nothing else."""

    clock: ManualClock
    appender: Appender
    has_own_time: bool
    """Whether records are stamped by a clock other than `clock`: a broker's."""

    def membership(self) -> Membership:
        """A processor that starts."""
        ...

    async def restart_appender(self) -> None:
        """The collector ends and starts again."""
        ...

    async def freeze_owner(self) -> None:
        """The newest processor is frozen, and taken for dead. It does not know."""
        ...

    async def forget_commits(self) -> None: ...

    async def drop_settled(self, assignment: Assignment, earliest: int) -> None:
        """Retention runs, until `earliest` is the earliest position."""
        ...

    async def break_appends(self) -> None:
        """From now on nothing can be stored."""
        ...

    async def mend_appends(self) -> None: ...

    async def replace(self) -> None:
        """Another log takes this one's place."""
        ...

    async def stop(self) -> None: ...


class MemoryLogUnderTest:
    has_own_time = False

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._log = MemoryLog(self.clock)
        self.appender: Appender = self._log.appender()

    def membership(self) -> Membership:
        return self._log.membership()

    async def restart_appender(self) -> None:
        await self.appender.stop()
        self.appender = self._log.appender()

    async def freeze_owner(self) -> None:
        return  # the newest to ask owns the partition; nobody asks the others

    async def forget_commits(self) -> None:
        self._log.forget_commits()

    async def drop_settled(self, assignment: Assignment, earliest: int) -> None:
        self._log.drop_settled()

    async def break_appends(self) -> None:
        self._log.fail_appends(Overloaded("full"))

    async def mend_appends(self) -> None:
        self._log.fail_appends(None)

    async def replace(self) -> None:
        self._log.replace()

    async def stop(self) -> None:
        await self.appender.stop()


class SqliteLogUnderTest:
    has_own_time = False

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.log = folder / "log.sqlite"
        self.positions = folder / "positions.sqlite"
        self._lock: sqlite3.Connection | None = None
        self.appender: Appender = self._open()

    def membership(self) -> Membership:
        return SqliteMembership(self.log, self.positions, self.clock)

    async def restart_appender(self) -> None:
        await self.appender.stop()
        self.appender = self._open()

    async def freeze_owner(self) -> None:
        return  # the newest to ask owns the partition; nobody asks the others

    async def forget_commits(self) -> None:
        for file in self.positions.parent.glob("positions.sqlite*"):
            file.unlink()

    async def drop_settled(self, assignment: Assignment, earliest: int) -> None:
        async def is_dropped() -> bool:
            return (await assignment.ends())[0] == earliest

        await until(is_dropped)

    async def break_appends(self) -> None:
        self._lock = sqlite3.connect(self.log, isolation_level=None)
        self._lock.execute("BEGIN IMMEDIATE")  # no other connection can write now

    async def mend_appends(self) -> None:
        assert self._lock is not None
        self._lock.close()

    async def replace(self) -> None:
        await self.appender.stop()
        for file in self.log.parent.glob("log.sqlite*"):
            file.unlink()
        self.appender = self._open()

    async def stop(self) -> None:
        await self.appender.stop()

    def _open(self) -> Appender:
        return SqliteAppender.open(
            self.log,
            positions=self.positions,
            clock=self.clock,
            max_bytes=1024**3,
            reserve_bytes=65536,
        )


@asynccontextmanager
async def owned(membership: Membership) -> AsyncIterator[Assignment]:
    """The first partition a membership is assigned, released and left in the end."""
    assignments = aiter(membership.assignments())
    assignment = await anext(assignments)
    try:
        yield assignment
    finally:
        await assignment.release()
        await membership.stop()
        assert [late async for late in assignments] == []


async def read_all(assignment: Assignment, position: int | None = None) -> list[Record]:
    """Everything from a position on (else from the earliest) to the end."""
    earliest, end = await assignment.ends()
    position = earliest if position is None else position
    found: list[Record] = []
    while position < end:
        found += await read(assignment, position)
        position = found[-1].position + 1
    return found


async def read(
    assignment: Assignment,
    position: int,
    *,
    max_records: int = 10_000,
    max_bytes: int = 2**30,
    wait_seconds: float = PATIENCE_SECONDS,
) -> Sequence[Record]:
    """`Assignment.read` with bounds that do not matter, where there is something to read."""
    return await assignment.read(
        position, max_records=max_records, max_bytes=max_bytes, wait_seconds=wait_seconds
    )


def batch(*values: bytes, **headers: bytes) -> Batch:
    """A batch of these values, all under one key."""
    return Batch([NewRecord(b"key", value) for value in values], headers)


async def until(
    condition: Callable[[], Awaitable[bool]], *, seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait for a condition; fail if it does not come true in good time."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "did not come true"
        await asyncio.sleep(0.01)


async def append_when_possible(appender: Appender, wanted: Batch) -> None:
    """Append, as a client does that is told to come again."""

    async def is_appended() -> bool:
        try:
            await appender.append(wanted)
        except Overloaded:
            return False
        return True

    await until(is_appended)
