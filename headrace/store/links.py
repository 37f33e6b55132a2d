"""Links of several partitions in one insert.

Owns who shares one. A few links take the store as long as a thousand (25 to 45 ms of CPU, for they
go into two tables), and where each of a dozen partitions inserted its own, half of what the
store did was that. So one insert is under way at a time, and what comes meanwhile goes with the
next; unless the one under way takes long: nobody waits for a connection that hangs. Links repeat
harmlessly, so that a shared insert needs no token.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from headrace.schemas.errors import Refused
from headrace.store.port import LinkRow

MOST_ROWS: Final = 50_000
"""An insert is full with this many; the rows of one caller are never parted."""
SLOW_SECONDS: Final = 1.0
"""Whoever has waited so long for another insert does not wait for its end."""


class _Waiting(msgspec.Struct):
    rows: Sequence[LinkRow]
    done: asyncio.Future[None]


class LinkInserts:
    """Groups the calls of one process; `insert` is how rows get into the store."""

    def __init__(self, insert: Callable[[Sequence[LinkRow]], Awaitable[None]]) -> None:
        self._insert = insert
        self._waiting: deque[_Waiting] = deque()
        self._running: set[asyncio.Task[None] | None] = set()

    async def insert(self, rows: Sequence[LinkRow]) -> None:
        """Returns when these rows are stored; raises what the store said of them.

        Cancelling the caller does not take them back.
        """
        waiting = _Waiting(rows, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            if self._running:
                await asyncio.wait([waiting.done], timeout=SLOW_SECONDS)
            if any(each is waiting for each in self._waiting):
                self._running.add(asyncio.create_task(self._run()))
            await waiting.done
        finally:
            waiting.done.cancel()  # nobody hears any more how it ends

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._insert_all(self._take())
        finally:
            self._running.discard(asyncio.current_task())

    def _take(self) -> Sequence[_Waiting]:
        taken = [self._waiting.popleft()]
        rows = len(taken[0].rows)
        while self._waiting and rows + len(self._waiting[0].rows) <= MOST_ROWS:
            rows += len(self._waiting[0].rows)
            taken.append(self._waiting.popleft())
        return taken

    async def _insert_all(self, group: Sequence[_Waiting]) -> None:
        try:
            await self._insert([row for waiting in group for row in waiting.rows])
        except Refused as refusal:
            if len(group) == 1:
                _fail(group, refusal)
                return
            for waiting in group:  # one of them is at fault, not its neighbours
                await self._insert_all([waiting])
        except Exception as error:  # noqa: BLE001 - it is its callers' to judge
            _fail(group, error)
        else:
            for waiting in group:
                if not waiting.done.done():
                    waiting.done.set_result(None)


def _fail(group: Sequence[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.done.done():
            waiting.done.set_exception(error)
