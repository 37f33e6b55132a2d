"""The loop: one partition from its assignment to its revocation.

Owns the order of things: poll → decode → validate → reject who was erased → find what is marked →
identify → find links → pack (for some records at a time) → number → join (for all of them) → batch
→ write → commit (`settle.py`). The steps up to there are pure, two lists. While a range is written
the next one is read and goes through them, in a thread if it is large; it is written when every
earlier range is settled, never before, and until then takes in what comes: where the store is slow,
ranges grow, and nothing waits for the range after the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

import structlog
from structlog.contextvars import bound_contextvars

from headrace.eventlog.port import Record
from headrace.processor.decode import decode
from headrace.processor.erased import Erased
from headrace.processor.failpoints import Point
from headrace.processor.identify import identify
from headrace.processor.lag import Lag
from headrace.processor.links import Links
from headrace.processor.marks import find_marked
from headrace.processor.pack import join_for, pack_for
from headrace.processor.parts import Parts
from headrace.processor.patience import Revoked
from headrace.processor.ranges import (
    Flush,
    Range,
    number,
    read_exactly,
    read_later,
    read_range,
)
from headrace.processor.settle import Settler
from headrace.processor.takeover import Held, Start, find_start
from headrace.processor.validate import validate_against
from headrace.schemas.errors import Fenced, HeadraceError
from headrace.schemas.taxonomy import Taxonomy

Step = Callable[[Range], None]

_LARGE: Final = 500
"""From this many records on the pure steps leave the event loop to others, one range after the
other: six threads got no more done than one (they share the interpreter), and the three store
calls of a small range beside them took 250 ms where they took 24 beside one."""
_LARGE_AT_LAST: Final = 5_000
"""The same for the steps for a whole range, which take a twentieth and are waited for."""
_LOOK_SECONDS: Final = 0.1
"""How often a range that waits for the one before takes in what has come since; the longer it
waits, the less often."""
_log = structlog.get_logger(__name__)


def pure_steps(schemas: Taxonomy, erased: Erased) -> list[Step]:
    """What happens to the records of a range, some at a time, in run order."""
    return [decode, validate_against(schemas), erased.reject, find_marked, identify]


class Worker:
    """Settles one partition's records, in order, until it is revoked."""

    def __init__(self, parts: Parts, steps: Sequence[Step], flush: Flush) -> None:
        self._parts = parts
        self._assignment = parts.assignment
        self._links = Links()
        self._steps = [*steps, self._links.find, pack_for(parts.store)]
        self._last_steps = [number, join_for(parts.store)]
        self._flush = flush
        self._is_ending = False
        self._last_began = -inf
        self._nothing_before = asyncio.Event()
        self._nothing_before.set()
        self._lag = Lag(parts.assignment, parts.clock)

    async def run(self) -> str:
        """Returns how it ended when the partition was `revoked`, or has another owner (`fenced`).

        Raises `LookupError` if the log does not hold what was committed, and `Tripped`.
        """
        watching = asyncio.create_task(self._lag.watch())
        try:
            await self._settle_all()
        except Revoked:
            pass
        except Fenced as fenced:
            _log.warning("another owner has the partition", error=str(fenced))
            return "fenced"
        finally:
            self._lag.end()
            await watching
        return "revoked"

    async def _settle_all(self) -> None:
        start = await self._take_over()
        self._lag.start_at(start.position)
        held = Held(self._parts.store, self._assignment, start.look_until)
        settler = Settler(self._parts, held, self._links)
        coming = asyncio.create_task(self._prepare(start.position, start.pending_to))
        try:
            while (range_ := await coming) is not None:
                await self._parts.fail_point(Point.PREPARED)
                self._nothing_before.clear()
                self._last_began = self._parts.clock.monotonic()
                coming = asyncio.create_task(self._prepare(range_.last + 1))
                self._lag.begin(range_)
                with bound_contextvars(range=f"{range_.first}-{range_.last}"):
                    await settler.settle(range_)
                self._nothing_before.set()
                self._lag.settle(range_)
        finally:
            # Waited for, not cancelled: after `release` nothing may still read.
            self._is_ending = True
            self._nothing_before.set()
            await asyncio.gather(coming, return_exceptions=True)

    async def _take_over(self) -> Start:
        start = await self._parts.patience.insist("take over", lambda _: self._find_start())
        repeats = {} if start.pending_to is None else {"repeats_to": start.pending_to}
        _log.info("partition taken over", position=start.position, **repeats)
        self._parts.refresher.ask()
        await self._parts.fail_point(Point.TAKEN_OVER)
        return start

    async def _find_start(self) -> Start:
        await self._parts.erased.refresh()
        return await find_start(self._assignment, self._parts.store)

    async def _prepare(self, first: int, pending_to: int | None = None) -> Range | None:
        """The next range, through the pure steps; None when the worker is to end."""
        while not (self._assignment.revoked.is_set() or self._is_ending):
            records = await self._parts.patience.insist(
                "read", lambda _: self._read(first, pending_to)
            )
            if records:
                log_id, partition = self._assignment.log_id, self._assignment.partition
                range_ = Range(log_id, partition, [], is_repeated=pending_to is not None)
                await self._take_in(range_, records)
                await self._gather(range_)
                await self._finish(range_)
                return range_
        return None

    async def _gather(self, range_: Range) -> None:
        """Take in what comes while the range before is being written, as far as there is room.

        Prepared as it comes: hardly anything is left to be done when its turn has come. Whatever
        keeps it from reading does not keep the range from being written. A range that is repeated
        stays as it was announced: it is the first, and nothing is before it.
        """
        clock, began = self._parts.clock, self._parts.clock.monotonic()
        while not (self._nothing_before.is_set() or range_.is_full(self._flush)):
            pause = max(_LOOK_SECONDS, (clock.monotonic() - began) / 8)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nothing_before.wait(), pause)
            self._parts.patience.proceed()
            if self._is_ending:
                return
            try:
                records = await read_later(self._assignment, range_, self._flush)
            except HeadraceError:
                continue
            except LookupError:
                return  # the next range meets it again, when this one is settled
            await self._take_in(range_, records)

    async def _read(self, first: int, pending_to: int | None) -> Sequence[Record]:
        if pending_to is None:
            return await read_range(
                self._assignment,
                first,
                self._flush,
                self._parts.clock,
                last_began=self._last_began,
            )
        return await read_exactly(self._assignment, first, pending_to, self._flush)

    async def _take_in(self, range_: Range, records: Sequence[Record]) -> None:
        """Take the records that follow through the steps and add them to the range."""
        if len(records) < _LARGE:
            self._add(range_, records)
        else:
            await self._parts.aside(self._add, range_, records)

    def _add(self, range_: Range, records: Sequence[Record]) -> None:
        for piece in range_.pieces(records):
            for step in self._steps:
                step(piece)
            range_.join(piece)

    async def _finish(self, range_: Range) -> None:
        """The steps for the whole range."""
        for step in self._last_steps:
            if len(range_.records) < _LARGE_AT_LAST:
                step(range_)
            else:
                await self._parts.aside(step, range_)
