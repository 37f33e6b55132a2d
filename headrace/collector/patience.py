"""One thing that a connection waits for at a time, and what happens when it does not come.

Owns the timer. It is not set and cancelled with what is waited for, which for every request would
cost 3 µs: it stays, and looks at what is due when it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_CLOCK_SECONDS: Final = 0.001
"""Of the loop's clock: a timer may come so much early."""


class Patience:
    """What is waited for, and until when."""

    __slots__ = ("_due", "_late", "_loop", "_timer", "_timer_at", "awaited")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.awaited = ""
        """Its name; empty if nothing is waited for."""
        self._loop = loop
        self._due = 0.0
        self._late: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def wait_for(self, what: str, seconds: float, late: Callable[[], None]) -> None:
        """From now on this, and nothing else, is waited for; if it takes longer, `late` runs."""
        self.awaited = what
        self._late = late
        self._due = due = self._loop.time() + seconds
        if self._timer is None or self._timer_at > due:
            if self._timer is not None:
                self._timer.cancel()
            self._set_timer()

    def came(self, what: str) -> bool:
        """It is not waited for any more; returns whether it was."""
        if self.awaited != what:
            return False
        self.awaited = ""
        return True

    def end(self) -> None:
        """Nothing is waited for ever again."""
        self.awaited = ""
        self._late = None  # it refers to whoever waited
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self) -> None:
        self._timer_at = self._due
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self.awaited:
            return
        if self._loop.time() + _CLOCK_SECONDS < self._due:
            self._set_timer()
            return
        self.awaited = ""
        assert self._late is not None
        self._late()
