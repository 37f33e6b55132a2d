"""The directory of a running process: a snapshot of control data, kept fresh.

Owns when the snapshot is replaced and when key uses are written back. Look-up is
`snapshot.py`'s, the database `database.py`'s. While the database cannot be reached the last
snapshot goes on serving: who could send a minute ago still can. A process that starts in that time
begins with the last snapshot that was kept on its disk (`kept.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from headrace.runtime.clock import Clock
from headrace.schemas.errors import HeadraceError, Overloaded, Unavailable
from headrace.workspaces.database import ControlData
from headrace.workspaces.kept import Kept, KeptSnapshot
from headrace.workspaces.port import ApiKey, Log, StoreUser

POLL_SECONDS: Final = 0.25
WRITE_BACK_SECONDS: Final = 10.0

log = structlog.get_logger(__name__)


class LiveDirectory:
    """Implements `Directory`. The first snapshot is taken when it is made, unless one is given."""

    def __init__(
        self,
        control: ControlData,
        clock: Clock,
        *,
        keep: KeptSnapshot | None = None,
        kept: Kept | None = None,
    ) -> None:
        self._control = control
        self._clock = clock
        self._keep = keep
        self._uses: dict[str, datetime] = {}
        self._written_at = clock.monotonic()
        self._stopping = asyncio.Event()
        self._trouble: str | None = None
        self._is_migrated = self._is_current = kept is None
        if kept is None:
            self._take()
        else:
            self._snapshot = kept.snapshot

    @classmethod
    def open(cls, url: str, clock: Clock, *, keep_at: Path | None = None) -> LiveDirectory:
        """The directory of the control data at a URL. Blocks for seconds; end it with `close`.

        A server that cannot be reached is no obstacle if a snapshot of it was kept at `keep_at`.
        Raises `Unavailable` (or `Overloaded`) if none was, `NewerDatabase` in any case.
        """
        control = ControlData.at(url, clock)
        keep = KeptSnapshot(keep_at, control.place) if keep_at and control.is_remote else None
        try:
            return cls._reach(control, clock, keep)
        except BaseException:
            control.close()
            raise

    @classmethod
    def _reach(cls, control: ControlData, clock: Clock, keep: KeptSnapshot | None) -> LiveDirectory:
        try:
            control.migrate()
            return cls(control, clock, keep=keep)
        except (Unavailable, Overloaded) as error:
            kept = keep.read() if keep else None
            if kept is None:
                raise
            log.error(
                "control data cannot be reached, starting from what was kept on disk: what was "
                "made or revoked since is not known here until it returns",
                kept_at=kept.taken_at.isoformat(),
                error=str(error),
            )
            directory = cls(control, clock, keep=keep, kept=kept)
            directory._trouble = str(error)
            return directory

    @property
    def trouble(self) -> str | None:
        """Why the snapshot may be old; None while control data can be reached."""
        return self._trouble

    def find_key(self, key: str) -> ApiKey | None:
        return self._snapshot.find_key(key)

    def find_store_user(self, name: str) -> StoreUser | None:
        return self._snapshot.find_store_user(name)

    def find_log(self, log_id: str) -> Log | None:
        return self._snapshot.find_log(log_id)

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
            if self._trouble is None:  # a frozen server must not hold up our end
                await self._write_back()

    def stop(self) -> None:
        """Let `run` write the last uses back and return."""
        self._stopping.set()

    def close(self) -> None:
        """Close the connections to control data; after `run` has returned."""
        self._control.close()

    def refresh(self) -> None:
        """Take a new snapshot if control data has changed. Blocks; raises `Unavailable`.

        Also if it was away: its revision may be another's of the same number then, by a backup.
        """
        if not self._is_migrated:
            self._control.migrate()
            self._is_migrated = True
        was_current, self._is_current = self._is_current, False
        if self._control.revision() != self._snapshot.revision or not was_current:
            self._take()
        self._is_current = True

    def _take(self) -> None:
        self._snapshot = self._control.snapshot()
        if self._keep is not None:
            self._keep.write(self._snapshot, self._clock.now())

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
            if self._trouble is None:
                log.warning("control data cannot be reached, serving what was", error=str(error))
            self._trouble = str(error)
        except Exception as error:  # the loop decides: keys that were revoked must be heard of
            if self._trouble is None:
                log.exception("control data cannot be read, serving what was")
            self._trouble = repr(error)
        else:
            if self._trouble is not None:
                log.info("control data can be reached again")
            self._trouble = None
        return self._trouble is None
