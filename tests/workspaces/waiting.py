"""Waiting for what another thread or process brings about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], bool]) -> None:
    """Return as soon as it holds; fail after twenty seconds."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - nobody is there who could set an event
            await asyncio.sleep(0.01)
