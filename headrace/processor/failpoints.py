"""The places between two steps of the processor, named, where a test may crash or freeze it.

Owns the names and the default that does nothing. A fail point is awaited right after the step
it is named after: raising in it is a crash there, not returning from it is a process frozen
there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum


class Point(StrEnum):
    """After which step; in the order in which they are passed."""

    TAKEN_OVER = "taken_over"
    PREPARED = "prepared"
    ANNOUNCED = "announced"
    LOOKED = "looked"
    REMEMBERED = "remembered"
    POISON_FOUND = "poison_found"
    EVENTS_INSERTED = "events_inserted"
    LOOKED_AGAIN = "looked_again"
    REJECTED_INSERTED = "rejected_inserted"
    DUPLICATES_INSERTED = "duplicates_inserted"
    LINKS_INSERTED = "links_inserted"
    COMMITTED = "committed"


FailPoint = Callable[[Point], Awaitable[None]]


async def pass_by(point: Point) -> None:
    """What every fail point does outside of tests: nothing."""
