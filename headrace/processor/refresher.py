"""Links count soon after they are inserted: identities are loaded beside the work.

Owns when the store is asked to. A load takes tens of milliseconds however few links it brings,
and a range that waited for its own made every partition five times slower. So ranges are committed
without it, and all that were linked meanwhile share one load. Who dies before a load leaves links
that do not count yet: whoever takes a partition over asks for one, too.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import structlog

from headrace.processor.patience import Backoff
from headrace.runtime.metrics import IDENTITIES_SECONDS
from headrace.schemas.errors import HeadraceError
from headrace.store.port import Store

LAST_SECONDS: Final = 5.0
"""How long the end of the process may wait for a load that was asked for."""

_log = structlog.get_logger(__name__)


class Refresher:
    """One for all workers of a process, from `start` to `stop`."""

    def __init__(self, store: Store, backoff: Backoff) -> None:
        self._store = store
        self._backoff = backoff
        self._wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen to `ask`."""
        self._running = asyncio.create_task(self._run())

    def ask(self) -> None:
        """Make the links inserted so far count soon."""
        self._idle.clear()
        self._wanted.set()

    async def stop(self) -> None:
        """Do what was asked for, if the store answers in time."""
        if self._running is None:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), LAST_SECONDS)
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                with IDENTITIES_SECONDS.time():
                    await self._store.refresh_identities()
            except Exception as error:  # noqa: BLE001 - the loop decides: nobody else would load
                failures += 1
                if failures == 1:
                    why = str(error) if isinstance(error, HeadraceError) else repr(error)
                    _log.warning("links do not count yet; trying again", error=why)
                self._wanted.set()
                await asyncio.sleep(self._backoff.seconds(failures))
                continue
            failures = 0
            if not self._wanted.is_set():
                self._idle.set()
