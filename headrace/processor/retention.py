"""Deleting rows that are past their workspace's time, or too many, beside the work.

Every process does it: a second one finds nothing left to delete.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable
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
    for look in itertools.count():
        await asyncio.sleep(EVERY_SECONDS)
        if look % _TIMES_OLD == 0:
            await _try(
                store.delete_old(clock.now()), "rows past their workspace's retention are deleted"
            )
        if most_bytes is not None:
            await _try(
                store.delete_beyond(most_bytes, clock.now()),
                "the store is over HEADRACE_STORE_MAX_BYTES: what was received first is deleted",
            )


async def _try(deleting: Awaitable[int], told: str) -> None:
    try:
        deleted = await deleting
    except HeadraceError as error:
        _log.warning("rows could not be deleted; trying again later", error=str(error))
    else:
        if deleted:
            _log.info(told, rows=deleted)
