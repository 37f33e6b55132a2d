"""Deleting rows that are past their workspace's time, or too many, beside the work.

Every process does it: a second one finds nothing left to delete.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

import structlog

from headrace.runtime.clock import Clock
from headrace.schemas.errors import HeadraceError
from headrace.store.port import Store

EVERY_SECONDS: Final = 60.0
"""How often is looked whether there are too many."""
_TIMES_OLD: Final = 60
"""Every so many looks, also for old ones: deleting by workspace costs a look at the tables."""

_log = structlog.get_logger(__name__)


async def delete_old_rows(store: Store, clock: Clock, most_bytes: int | None = None) -> None:
    """Until cancelled; begins some time after the start, which has other things to do."""
    looks = 0
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            await _look(store, clock.now(), most_bytes, for_old=looks % _TIMES_OLD == 0)
        except HeadraceError as error:
            _log.warning("old rows could not be deleted; trying again later", error=str(error))
        else:
            looks += 1


async def _look(store: Store, now: datetime, most_bytes: int | None, *, for_old: bool) -> None:
    if for_old and (deleted := await store.delete_old(now)):
        _log.info("rows past their workspace's retention deleted", rows=deleted)
    if most_bytes is not None and (deleted := await store.delete_beyond(most_bytes, now)):
        _log.warning(
            "the store is over HEADRACE_STORE_MAX_BYTES: what was received first is deleted",
            rows=deleted,
        )
