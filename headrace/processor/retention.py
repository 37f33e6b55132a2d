"""Deleting rows that are past their workspace's time, beside the work.

Every process does it, once an hour: a second one finds nothing left to delete.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from headrace.runtime.clock import Clock
from headrace.schemas.errors import HeadraceError
from headrace.store.port import Store

EVERY_SECONDS: Final = 3_600.0
FIRST_SECONDS: Final = 60.0
"""After the start, which has other things to do."""

_log = structlog.get_logger(__name__)


async def delete_old_rows(store: Store, clock: Clock) -> None:
    """Until cancelled."""
    await asyncio.sleep(FIRST_SECONDS)
    while True:
        try:
            deleted = await store.delete_old(clock.now())
        except HeadraceError as error:
            _log.warning("old rows could not be deleted; trying again later", error=str(error))
        else:
            if deleted:
                _log.info("rows past their workspace's retention deleted", rows=deleted)
        await asyncio.sleep(EVERY_SECONDS)
