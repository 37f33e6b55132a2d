"""The processor's side of the local log: its one partition, from assignment to revocation.

Owns the asyncio half. What blocks runs in two threads: one reads and waits for records
(`tail.py`), one does what is short (`positions.py`), so that no commit waits for a read.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import structlog

from headrace.eventlog.port import Committed, Record
from headrace.eventlog.sqlite.errors import describe
from headrace.eventlog.sqlite.positions import PositionsFile
from headrace.eventlog.sqlite.tail import LogReader
from headrace.runtime.clock import Clock
from headrace.schemas.errors import Fenced, Unavailable

PARTITION: Final = 0
"""The local log has this one."""

_WATCH_SECONDS: Final = 0.2
_RETRY_SECONDS: Final = 0.05
_LOG: Final = structlog.get_logger(__name__)
_P = ParamSpec("_P")
_R = TypeVar("_R")


class _Thread:
    """One thread for calls that block; SQLite's errors come out as `Unavailable`."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, name)

    async def run(self, call: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """The call's result. Cancelling does not stop what was begun, nor take it back."""
        loop = asyncio.get_running_loop()
        begun = loop.run_in_executor(self._pool, lambda: call(*args, **kwargs))
        try:
            return await asyncio.shield(begun)
        except sqlite3.Error as error:
            raise Unavailable(f"the local log: {describe(error)}") from error

    def end(self) -> None:
        self._pool.shutdown(wait=False)


class SqliteMembership:
    """The port's `Membership` on two files; one per processor process."""

    def __init__(self, log: Path, positions: Path, clock: Clock) -> None:
        self._log = log
        self._positions = PositionsFile(positions, clock)
        self._reads = _Thread("log-reads")
        self._commits = _Thread("log-commits")
        self._stopping = asyncio.Event()
        self._current: SqliteAssignment | None = None

    async def assignments(self) -> AsyncIterator[SqliteAssignment]:
        """The partition, as soon as the collector made the log, and again when it is replaced.

        Raises `Fenced` when its worker released it without being asked: another process has it,
        and one that idled from then on would be taken for one that works.
        """
        while (assignment := await self._next_assignment()) is not None:
            self._current = assignment
            watch = asyncio.create_task(self._watch(assignment))
            try:
                yield assignment
                await watch
            finally:
                watch.cancel()
            if self._stopping.is_set():
                return  # `stop` does the rest
            if not assignment.revoked.is_set():
                await assignment.close()
                raise Fenced(f"another process has taken over {self._log}; this one ends")
            await assignment.released.wait()
            await assignment.close()

    async def stop(self) -> None:
        self._stopping.set()
        if self._current is not None:
            self._current.revoke()
            await self._current.released.wait()
            await self._current.close()
        await self._commits.run(self._positions.close)
        self._reads.end()
        self._commits.end()

    async def _next_assignment(self) -> SqliteAssignment | None:
        while not self._stopping.is_set():
            try:
                reader = await self._reads.run(LogReader.open, self._log)
                if reader is not None:
                    return await self._assign(reader)
            except Unavailable as error:
                _LOG.warning("log_not_readable", path=str(self._log), reason=str(error))
            await self._pause(_RETRY_SECONDS)
        return None

    async def _assign(self, reader: LogReader) -> SqliteAssignment:
        try:
            epoch = await self._commits.run(self._positions.own, reader.meta.log_id, PARTITION)
        except BaseException:
            await self._reads.run(reader.close)
            raise
        return SqliteAssignment(
            reader, self._positions, epoch, reads=self._reads, commits=self._commits
        )

    async def _watch(self, assignment: SqliteAssignment) -> None:
        """Until the membership stops, the log is replaced, or the worker gave it back."""
        while not (self._stopping.is_set() or assignment.is_log_replaced()):
            if assignment.released.is_set():
                return
            await self._pause(_WATCH_SECONDS)
        assignment.revoke()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


class SqliteAssignment:
    """The port's `Assignment`: one owner epoch of one log."""

    def __init__(
        self,
        reader: LogReader,
        positions: PositionsFile,
        epoch: int,
        *,
        reads: _Thread,
        commits: _Thread,
    ) -> None:
        self._reader = reader
        self._positions = positions
        self._epoch = epoch
        self._reads = reads
        self._commits = commits
        self._revoked = asyncio.Event()
        self._ended = threading.Event()
        self.released = asyncio.Event()

    @property
    def log_id(self) -> str:
        return self._reader.meta.log_id

    @property
    def partition(self) -> int:
        return PARTITION

    @property
    def revoked(self) -> asyncio.Event:
        return self._revoked

    def revoke(self) -> None:
        self._revoked.set()
        self._ended.set()

    def is_log_replaced(self) -> bool:
        return self._reader.is_replaced()

    async def committed(self) -> Committed | None:
        return await self._commits.run(self._positions.committed, self.log_id, PARTITION)

    async def ends(self) -> tuple[int, int]:
        # In the other thread: a read may be waiting there, and this must not wait with it.
        return await self._commits.run(self._reader.ends)

    async def read(
        self, position: int, *, max_records: int, max_bytes: int, wait_seconds: float
    ) -> Sequence[Record]:
        return await self._reads.run(
            self._reader.read,
            position,
            max_records=max_records,
            max_bytes=max_bytes,
            wait_seconds=wait_seconds,
            ended=self._ended,
        )

    async def commit(self, committed: Committed) -> None:
        await self._commits.run(
            self._positions.commit, self.log_id, PARTITION, self._epoch, committed
        )

    async def release(self) -> None:
        self._ended.set()
        self.released.set()

    async def close(self) -> None:
        """Close the log; what may still be reading ends first."""
        await self._reads.run(self._reader.close)
