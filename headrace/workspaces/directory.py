"""The directory of a running process: a snapshot of control data, kept fresh.

Owns when the snapshot is replaced and when key uses are written back. Look-up is
`snapshot.py`'s, the database `database.py`'s. While the database cannot be reached the last
snapshot goes on serving: who could send a minute ago still can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from headrace.runtime.clock import Clock
from headrace.schemas.errors import HeadraceError
from headrace.workspaces.database import ControlData
from headrace.workspaces.port import ApiKey, StoreUser

POLL_SECONDS: Final = 0.25
WRITE_BACK_SECONDS: Final = 10.0

log = structlog.get_logger(__name__)


class LiveDirectory:
    """Implements `Directory`. The first snapshot is taken when it is made."""

    def __init__(self, control: ControlData, clock: Clock) -> None:
        self._control = control
        self._clock = clock
        self._snapshot = control.snapshot()
        self._uses: dict[str, datetime] = {}
        self._written_at = clock.monotonic()
        self._stopping = asyncio.Event()
        self._reachable = True

    def find_key(self, key: str) -> ApiKey | None:
        return self._snapshot.find_key(key)

    def find_store_user(self, name: str) -> StoreUser | None:
        return self._snapshot.find_store_user(name)

    def note_use(self, key: ApiKey, now: datetime) -> None:
        self._uses[key.id] = now

    async def run(self) -> None:
        """Keep the snapshot fresh until `stop` is called or the task is cancelled."""
        try:
            while not self._stopping.is_set():
                await self._pause()
                await self._try(self.refresh)
                if self._clock.monotonic() - self._written_at >= WRITE_BACK_SECONDS:
                    await self._write_back()
        finally:
            await self._write_back()

    def stop(self) -> None:
        """Let `run` write the last uses back and return."""
        self._stopping.set()

    def refresh(self) -> None:
        """Take a new snapshot if control data has changed. Blocks; raises `Unavailable`."""
        if self._control.revision() != self._snapshot.revision:
            self._snapshot = self._control.snapshot()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._stopping.wait()

    async def _write_back(self) -> None:
        # Exchanged here, not in the thread: `note_use` must never meet a dict being read.
        uses, self._uses = self._uses, {}
        self._written_at = self._clock.monotonic()
        if uses and not await self._try(partial(self._control.note_uses, uses)):
            self._uses = uses | self._uses

    async def _try(self, step: Callable[[], None]) -> bool:
        """Run a blocking step in a thread; say once when the database goes and comes."""
        try:
            await asyncio.to_thread(step)
        except HeadraceError as error:
            if self._reachable:
                log.warning("control data cannot be reached, serving what was", error=str(error))
            self._reachable = False
        else:
            if not self._reachable:
                log.info("control data can be reached again")
            self._reachable = True
        return self._reachable
