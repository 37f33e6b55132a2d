"""How far one partition is behind, shown for as long as a worker has it.

Owns the partition's label of both lag metrics: it appears with the worker and goes with it, so
that a partition that moved has one lag, its new owner's. The end of the log is looked at by the
clock and not with every range, so that lag grows while nothing moves, and a busy partition
does not ask five times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime
from typing import Final

from headrace.eventlog.port import Assignment
from headrace.processor.ranges import Range
from headrace.runtime.clock import Clock
from headrace.runtime.metrics import LAG_RECORDS, LAG_SECONDS
from headrace.schemas.errors import HeadraceError

LOOK_SECONDS: Final = 2.0


class Lag:
    """The lag of one assignment. `watch` runs beside its worker, until `end`."""

    def __init__(self, assignment: Assignment, clock: Clock) -> None:
        self._assignment = assignment
        self._clock = clock
        self._label = str(assignment.partition)
        self._ended = asyncio.Event()
        self._settled_to: int | None = None
        self._end = 0
        self._oldest: datetime | None = None
        self._since = clock.now()
        """What is not settled was appended after this, as far as is known."""
        LAG_SECONDS.labels(self._label).set_function(self.seconds)

    async def watch(self) -> None:
        """Look where the log ends, now and every `LOOK_SECONDS`."""
        while not self._ended.is_set():
            with contextlib.suppress(HeadraceError):
                await self._look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), LOOK_SECONDS)

    def start_at(self, position: int) -> None:
        """Everything before this position is settled."""
        self._settled_to = position
        self._show()

    def begin(self, range_: Range) -> None:
        """This range is the next to be settled."""
        self._oldest = range_.records[0].appended_at
        self._end = max(self._end, range_.last + 1)
        self._show()

    def settle(self, range_: Range) -> None:
        """It is."""
        self._oldest, self._since = None, range_.records[-1].appended_at
        self.start_at(range_.last + 1)

    def end(self) -> None:
        """The partition is given up: another owner's lag counts from now on."""
        self._ended.set()
        LAG_RECORDS.remove(self._label)
        LAG_SECONDS.remove(self._label)

    def seconds(self) -> float:
        """Age of the oldest record not settled: asked for at every scrape, so a stuck one grows."""
        if self._oldest is None and not self._records():
            return 0.0
        return max(0.0, (self._clock.now() - (self._oldest or self._since)).total_seconds())

    def _records(self) -> int:
        return 0 if self._settled_to is None else max(0, self._end - self._settled_to)

    async def _look(self) -> None:
        now = self._clock.now()
        earliest, end = await self._assignment.ends()
        if self._settled_to is None:
            committed = await self._assignment.committed()
            position = earliest if committed is None else committed.position
            self._settled_to = position if self._settled_to is None else self._settled_to
        self._end = max(self._end, end)
        if self._records() == 0:
            self._since = now
        self._show()

    def _show(self) -> None:
        if not self._ended.is_set():
            LAG_RECORDS.labels(self._label).set(self._records())
