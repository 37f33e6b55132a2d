"""How many requests a workspace may send in any 60 seconds: an exact sliding window.

Owns the counting and the `RateLimit` headers (draft-ietf-httpapi-ratelimit-headers). A token
bucket would let twice the limit through in one window. Above 10,000 a minute requests are
counted in buckets of 100 ms, each kept until all of it has left the window: never one too many.
Pure: `now` is passed in.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

import msgspec

WINDOW_SECONDS: Final = 60
EXACT_UP_TO: Final = 10_000

_MICROSECONDS: Final = 1_000_000
_WINDOW: Final = WINDOW_SECONDS * _MICROSECONDS
_BUCKET: Final = _MICROSECONDS // 10
_COUNT_BITS: Final = 20
_COUNT_MASK: Final = (1 << _COUNT_BITS) - 1
_LOST: Final = 1
"""A microsecond: what a moment may lose on its way through a float of seconds."""
_HEADERS: Final = b'ratelimit-policy: "default";q=%d;w=%d\r\nratelimit: "default";r=%d;t=%d\r\n'
_CHECKS_PER_SWEEP: Final = 16
_SWEPT_AT_ONCE: Final = 2 * _CHECKS_PER_SWEEP


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Whether a request may pass, and what the headers say.

    `seconds` (whole) is when more room comes; a request refused passes after it, unless
    others took the room.
    """

    allowed: bool
    limit: int
    remaining: int
    seconds: int

    def headers(self) -> bytes:
        """What every answer after this decision carries."""
        return _HEADERS % (self.limit, WINDOW_SECONDS, self.remaining, self.seconds)


class SlidingWindow:
    """The requests of one workspace within the window, oldest first.

    Moment and count share one integer: a million requests a minute then take 45 MB, as pairs
    they took 100. Integers (microseconds), because sums of floats would make "passes after
    `seconds`" a lie now and then.
    """

    __slots__ = ("_moments", "_total")

    def __init__(self) -> None:
        self._moments: deque[int] = deque()
        self._total = 0

    def ask(self, limit: int, now: int, *, take: bool) -> Decision:
        """Whether one more may pass; counts it if it may and `take` is set."""
        self.forget(now)
        allowed = self._total < limit
        if allowed and take:
            self._count(limit, now)
        wait = self._free_at(limit, now) - now
        return Decision(allowed, limit, max(0, limit - self._total), -(-wait // _MICROSECONDS))

    def forget(self, now: int) -> bool:
        """Drop what has left the window; returns whether nothing is left."""
        moments = self._moments
        while moments and (moments[0] >> _COUNT_BITS) + _WINDOW <= now + _LOST:
            self._total -= moments.popleft() & _COUNT_MASK
        return not moments

    def _count(self, limit: int, now: int) -> None:
        self._total += 1
        if limit <= EXACT_UP_TO:
            self._moments.append(now << _COUNT_BITS | 1)
            return
        end = now // _BUCKET * _BUCKET + _BUCKET
        if self._moments and self._moments[-1] >> _COUNT_BITS >= end:
            self._moments[-1] += 1
        else:
            self._moments.append(end << _COUNT_BITS | 1)

    def _free_at(self, limit: int, now: int) -> int:
        """When more room comes; more than the oldest must leave if the limit was lowered."""
        excess = self._total - limit
        for moment in self._moments:
            excess -= moment & _COUNT_MASK
            if excess < 0:
                return (moment >> _COUNT_BITS) + _WINDOW
        return now + _WINDOW


class Limiter:
    """The windows of all workspaces. Memory follows the requests let through in 60 seconds."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, SlidingWindow] = OrderedDict()
        self._asked = 0

    def take(self, workspace_id: str, limit: int, now_seconds: float) -> Decision:
        """Count a request if it may pass; `now_seconds` is of a clock that never goes back."""
        now = int(now_seconds * _MICROSECONDS)
        self._asked += 1
        if self._asked % _CHECKS_PER_SWEEP == 0:
            self._sweep(now)
        window = self._windows.get(workspace_id)
        if window is None:
            window = self._windows[workspace_id] = SlidingWindow()
        else:
            self._windows.move_to_end(workspace_id)
        return window.ask(limit, now, take=True)

    def look(self, workspace_id: str, limit: int, now_seconds: float) -> Decision:
        """The same without counting."""
        window = self._windows.get(workspace_id) or SlidingWindow()
        return window.ask(limit, int(now_seconds * _MICROSECONDS), take=False)

    def __len__(self) -> int:
        return len(self._windows)

    def _sweep(self, now: int) -> None:
        """Drop idle workspaces, some at a time: those not seen for longest first."""
        for _ in range(min(_SWEPT_AT_ONCE, len(self._windows))):
            oldest = next(iter(self._windows))
            if not self._windows[oldest].forget(now):
                return
            del self._windows[oldest]
