"""The places between two steps of the processor, named, where a test may crash or freeze it.

Owns the names, the default that does nothing, and the death of a whole process at one of them.
A fail point is awaited right after the step it is named after: raising in it is a crash there,
not returning from it is a process frozen there.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final


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
    WRITTEN = "written"
    COMMITTED = "committed"


FailPoint = Callable[[Point], Awaitable[None]]

_NTH: Final = re.compile(r"([a-z_]+)(?::([1-9][0-9]{0,8}))?")


async def pass_by(point: Point) -> None:
    """What every fail point does outside of tests: nothing."""


def kill_at(wanted: Point, nth: int = 1) -> FailPoint:
    """Ends this process as a loss of power would when it passes `wanted` for the nth time."""
    passed = 0

    async def fail_point(point: Point) -> None:
        nonlocal passed
        passed += point is wanted
        if point is wanted and passed == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    return fail_point


def read_fail_point(text: str) -> FailPoint:
    """The fail point that `<point>[:n]` means; `pass_by` for no text.

    Raises ValueError with what was expected instead.
    """
    if not text:
        return pass_by
    found = _NTH.fullmatch(text)
    if found is None or found[1] not in set(Point):
        points = ", ".join(Point)
        raise ValueError(f"expected <point> or <point>:<n>, where <point> is one of {points}")
    return kill_at(Point(found[1]), int(found[2] or 1))
