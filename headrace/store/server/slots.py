"""Who runs a query now: a bounded number of people's queries, fairly among users.

A user may take another slot while more are free than the user has: of eight one alone gets four,
a second two, and a third and a fourth one each. Whoever finds no slot waits a moment in a bounded
queue, and is then told to come back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from headrace.store.server.answers import Refusal


class Slots:
    """Counts running queries by user. For one event loop."""

    def __init__(self, *, running: int, waiting: int, wait_seconds: float) -> None:
        self._running = running
        self._waiting = waiting
        self._wait_seconds = wait_seconds
        self._of_user: Counter[str] = Counter()
        self._queue: list[tuple[str, asyncio.Future[None]]] = []
        self._is_closed = False

    def close(self) -> None:
        """Give out no more: the server stops."""
        self._is_closed = True

    @contextlib.asynccontextmanager
    async def take(self, user: str) -> AsyncIterator[None]:
        """A slot for one query of `user`; raises `Refusal` 202 when there is none in time."""
        if self._is_closed:
            raise self._full(user)
        if not self._queue and self._may_run(user):
            self._of_user[user] += 1
        else:
            await self._wait(user)
        try:
            yield
        finally:
            self._release(user)

    def _may_run(self, user: str) -> bool:
        if self._is_closed:
            return False
        return self._of_user.total() + self._of_user[user] < self._running

    async def _wait(self, user: str) -> None:
        if len(self._queue) >= self._waiting or self._waits(user) >= self._waiting // 2:
            raise self._full(user)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (user, turn)
        self._queue.append(entry)
        self._admit()
        try:
            await asyncio.wait_for(turn, self._wait_seconds)
        except BaseException as error:
            if entry in self._queue:
                self._queue.remove(entry)
            elif turn.done() and not turn.cancelled():
                self._release(user)
            if isinstance(error, TimeoutError):
                raise self._full(user) from None
            raise

    def _waits(self, user: str) -> int:
        return sum(1 for waiting, _ in self._queue if waiting == user)

    def _release(self, user: str) -> None:
        self._of_user[user] -= 1
        if not self._of_user[user]:
            del self._of_user[user]
        self._admit()

    def _admit(self) -> None:
        """Those with fewest running first; among equals who came first."""
        while True:
            ready = [entry for entry in self._queue if self._may_run(entry[0])]
            if not ready:
                return
            entry = min(ready, key=lambda waiting: self._of_user[waiting[0]])
            self._queue.remove(entry)
            user, turn = entry
            if not turn.done():
                self._of_user[user] += 1
                turn.set_result(None)

    def _full(self, user: str) -> Refusal:
        return Refusal(
            202,
            "TOO_MANY_SIMULTANEOUS_QUERIES",
            f"Too many simultaneous queries. Maximum: {self._running} for everybody, of which "
            f"{user} has {self._of_user[user]}; try again when one has ended",
        )
