"""Queries that nothing ends: what then, and who may not ask for a while.

The engine looks at the time between two blocks and never within one, and some functions take
hours over a single row (`hasAll` of two long arrays, a union of polygons). The thread that works
on one is lost, with a core of the machine. So, when a query is so far over its time, the server
ends as a process and is started anew, which costs everybody else a second or two; and whoever
asked has to wait before they ask again, so that they cannot make a habit of it.

Owns when that is so, and the file in which it is kept from one process to the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import structlog

from headrace.runtime.clock import Clock
from headrace.store.server.answers import Refusal
from headrace.store.server.limits import StoreLimits
from headrace.store.server.running import Running
from headrace.workspaces.port import Role, StoreUser

TICK_SECONDS: Final = 1.0
_FILE: Final = "headrace_overruns.json"

_LOG: Final = structlog.get_logger(__name__)


class Overruns:
    """Of one server's folder."""

    def __init__(self, folder: Path, limits: StoreLimits, clock: Clock) -> None:
        self._path = folder / _FILE
        self._limits = limits
        self._clock = clock
        self._until = self._read()

    def admit(self, user: StoreUser) -> None:
        """Raises `Refusal` 201 for who has to wait."""
        until = self._until.get(user.name)
        if until is not None and self._clock.now() < until:
            raise Refusal(
                201,
                "QUOTA_EXCEEDED",
                f"A query of {user.name} could not be ended, and the server had to be started "
                f"anew; {user.name} may ask again at {until:%H:%M:%S} UTC",
            )

    def look(self, queries: Iterable[Running]) -> Running | None:
        """To be called each `TICK_SECONDS`: one that nothing will end, if there is any.

        Ticks are counted, not the clock asked: a process that was frozen wakes to find its
        queries as old as they were.
        """
        most = self._limits.query_seconds + self._limits.overrun_seconds
        return next((query for query in queries if query.tick(TICK_SECONDS) > most), None)

    def note(self, user: StoreUser, query_id: str) -> Refusal:
        """The server is about to end because of this query: keep who it was; what to tell them."""
        wait = timedelta(seconds=self._limits.overrun_wait_seconds)
        if user.role is Role.ANALYST:
            self._until[user.name] = self._clock.now() + wait
            self._keep()
        _LOG.error(
            "a query cannot be ended; the store starts anew", user=user.name, query_id=query_id
        )
        return Refusal(
            159,
            "TIMEOUT_EXCEEDED",
            f"Timeout exceeded: the query is over its {self._limits.query_seconds:g} s and cannot "
            "be ended, because a function works on a single row for longer than that. "
            "The server starts anew; give the function less",
        )

    def _keep(self) -> None:
        beside = self._path.with_suffix(".new")
        try:
            beside.write_bytes(msgspec.json.encode(self._until))
            beside.replace(self._path)
        except OSError as error:  # the process has to end all the same
            _LOG.error("who has to wait could not be kept", path=str(beside), error=str(error))

    def _read(self) -> dict[str, datetime]:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=dict[str, datetime])
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError as error:
            _LOG.warning("a file of ours cannot be read", path=str(self._path), error=str(error))
            return {}
        now = self._clock.now()
        return {user: until for user, until in kept.items() if until > now}
