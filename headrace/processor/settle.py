"""Writing a range so that every record of it ends in exactly one table, whatever dies.

Owns the protocol; `docs/decisions/0002-exactly-once.md` has the same with examples. There is no
transaction over log and store, so two layers do it, each enough for any one fault:

*Positions.* Every row carries where its record lies. Whoever is in doubt asks which positions
the store holds already; those are settled and left out.

*Ranges and tokens*, for a block that is still on its way while somebody else repeats it (a
frozen owner, a request that timed out): looking cannot see it. So (1) the range is announced in
the commit before anything is written, and a new owner repeats exactly it; (2) its events are
one block, under a token made of the range's input, so that of all tries one block is taken,
whatever a newer schema makes of the same records; (3) the end is committed.

The order within a try, and why:

- Retries are remembered before the events, so that whoever takes over after them knows.
- Events come first of the rows. In doubt the store is then looked at *again*: from now on the
  token is used up, by our block or by another try's, so what is held no longer changes.
  Rejected and duplicate rows are written for what is left only. In the other order a late
  block of events that holds a record which a newer schema rejects would put it into two tables.
- If the block that was taken lacks events of ours (a crash came between events and rejected
  rows, then the schema was mended), they go in under a token of their own: the first token
  followed by a digest of their positions. Under the first one they would vanish silently.
- Rejected and duplicate rows have tokens with a digest of the block's positions: the same rows
  again are dropped, other rows are not.
- Links come last and only from events that are stored: a record the store refuses, or a newer
  schema rejects, must not join two people. Whoever finds events held writes their links again;
  links repeat harmlessly, and resolution happens when people ask, so none comes too late. That
  they count is seen to beside the work (`refresher.py`).

In doubt is: a range that was announced by an earlier owner, a range of which anything is held,
every try after the first, and whoever was away for more than a minute (the windows in which
tokens are remembered may have moved on). Every try announces anew, and so does, before its next
block, whoever was away for a second: a frozen owner that wakes finds out that it has been
replaced instead of going on with what it had in mind. A range without doubt asks nothing.

What is left open needs two faults at once, a schema change and a block that is still on its way
when its range is repeated: rejected rows whose records the new schema stored, or events of a
range in which the new schema stores none (so that no block uses the token up). Readers show a
rejected row whose id is stored as replayed, so that even then the record counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from datetime import datetime
from typing import Final

import msgspec

from headrace.eventlog.port import Committed
from headrace.processor.batch import Blocks, Suspects, make_blocks
from headrace.processor.failpoints import Point
from headrace.processor.identify import rows_at
from headrace.processor.links import Links
from headrace.processor.marks import Marks
from headrace.processor.measure import count_freshness, count_settled
from headrace.processor.parts import Parts
from headrace.processor.poison import find_poison
from headrace.processor.ranges import Range
from headrace.processor.takeover import Held, look
from headrace.processor.tracing import describe, traces_of
from headrace.runtime.metrics import BLOCK_SECONDS, COMMITS, INSERT_SECONDS
from headrace.schemas.errors import Refused, Unavailable
from headrace.schemas.event_ids import request_of
from headrace.store.port import DuplicateRow, EventRow, LinkRow, PackedEvents, RejectedRow

DOUBT_AFTER_SECONDS: Final = 60.0
PROVE_AFTER_SECONDS: Final = 1.0


class _Try(msgspec.Struct):
    """One attempt to write a range."""

    range_: Range
    proved: float
    """When the partition was last known to be ours, by the monotonic clock."""
    in_doubt: bool
    held: Set[int]
    """Before this try: what becomes of the other records is decided, and it stays so."""
    suspects: Suspects | None = None
    seen: Set[int] = frozenset()
    """Held when looked at again, after the events."""


class Settler:
    """Writes the ranges of one partition, in order; belongs to one worker."""

    def __init__(self, parts: Parts, held: Held, links: Links) -> None:
        self._parts = parts
        self._held = held
        self._store = parts.store
        self._marks = Marks(parts.store, parts.assignment.log_id, parts.assignment.partition)
        self._links = links
        self._tries = 0

    async def settle(self, range_: Range) -> None:
        """Write and commit a range.

        Raises `Fenced` or `Revoked` if another owner shall, and `Tripped` if nobody must.
        """
        patience, clock = self._parts.patience, self._parts.clock
        began, began_at = clock.monotonic(), clock.now()
        self._tries = 0
        blocks = await patience.insist("write", lambda tries: self._write(range_, tries))
        INSERT_SECONDS.observe(clock.monotonic() - began)
        await self._parts.fail_point(Point.WRITTEN)
        done = Committed(range_.last + 1)
        await patience.insist("commit", lambda _: self._parts.assignment.commit(done))
        COMMITS.labels("settled").inc()
        count_settled(range_, blocks, clock.now())
        self._trace(range_, blocks, began_at)
        await self._parts.fail_point(Point.COMMITTED)

    async def _write(self, range_: Range, tries: int) -> Blocks:
        """One try; returns what all tries together made of the range, to be counted."""
        self._tries = tries + 1
        now = await self._begin(range_, tries)
        await self._demand_unbroken(now)
        now.suspects = await self._marks.look_up(range_)
        await self._parts.fail_point(Point.REMEMBERED)
        blocks = await self._insert_events(now)
        if blocks.events:
            count_freshness(range_, blocks.events, self._parts.clock.now())
        await self._insert_others(now, blocks)
        await self._insert_links(now, blocks)
        return make_blocks(range_, range_.held or frozenset(), now.suspects) if tries else blocks

    async def _begin(self, range_: Range, tries: int) -> _Try:
        """Announce the range, and look at what is held of it if there is any doubt."""
        await self._announce(range_)
        proved = self._parts.clock.monotonic()
        await self._parts.fail_point(Point.ANNOUNCED)
        held = await (self._look(range_) if tries else self._held.within(range_))
        range_.held = held if range_.held is None else range_.held
        await self._parts.fail_point(Point.LOOKED)
        return _Try(range_, proved, range_.is_repeated or tries > 0 or bool(held), held)

    async def _insert_events(self, now: _Try) -> Blocks:
        """Store the events; returns them and what else of the range is to be written."""
        token = now.range_.token
        while True:
            blocks = make_blocks(now.range_, now.held, now.suspects)
            missing = blocks.events
            if now.seen:
                missing = [position for position in missing if position not in now.seen]
                token = now.range_.token_of(now.range_.token, missing)
            if not await self._are_taken(now, missing, token):
                continue
            if not (now.in_doubt and missing):
                return blocks
            now.seen = await self._look(now.range_)
            await self._parts.fail_point(Point.LOOKED_AGAIN)

    async def _are_taken(self, now: _Try, positions: Sequence[int], token: str) -> bool:
        """Insert one block; False if rows of it are poison and now count as rejected."""
        if not positions:
            return True
        events: PackedEvents | Sequence[EventRow] | None = now.range_.packed
        # What is rejected, held or a duplicate only grows: so many are the same ones.
        if events is None or len(positions) != events.count:
            events = await self._rows_at(now.range_, positions)
        await self._demand_ours(now)
        try:
            with BLOCK_SECONDS.labels("events").time():
                await self._store.insert_events(events, token=token)
        except Refused as refusal:
            await self._find_poison(now.range_, positions, refusal)
            await self._demand_unbroken(now)
            return False
        await self._parts.fail_point(Point.EVENTS_INSERTED)
        return True

    async def _rows_at(self, range_: Range, positions: Sequence[int]) -> Sequence[EventRow]:
        return await self._parts.aside(rows_at, range_, positions)

    async def _find_poison(self, range_: Range, positions: Sequence[int], refusal: Refused) -> None:
        proceed = self._parts.patience.proceed
        events = await self._rows_at(range_, positions)
        found = await find_poison(self._store, events, range_.rejected, proceed=proceed)
        await self._parts.fail_point(Point.POISON_FOUND)
        if not found:
            raise Refused(
                f"a block of {len(events)} events was refused, yet every row of it passes the "
                f"check: {refusal}",
                code=refusal.code,
            ) from refusal

    async def _insert_others(self, now: _Try, blocks: Blocks) -> None:
        rejected = [row for row in blocks.rejected if row.place.position not in now.seen]
        if rejected:
            await self._demand_ours(now)
            token = now.range_.token_of("rejected", _positions(rejected))
            with BLOCK_SECONDS.labels("rejected").time():
                await self._store.insert_rejected(rejected, token=token)
            await self._parts.fail_point(Point.REJECTED_INSERTED)
        duplicates = [row for row in blocks.duplicates if row.place.position not in now.seen]
        if duplicates:
            await self._demand_ours(now)
            token = now.range_.token_of("duplicates", _positions(duplicates))
            with BLOCK_SECONDS.labels("duplicates").time():
                await self._store.insert_duplicates(duplicates, token=token)
            await self._parts.fail_point(Point.DUPLICATES_INSERTED)

    async def _insert_links(self, now: _Try, blocks: Blocks) -> None:
        if not now.range_.links:
            return
        links = self._links.choose(await self._links_of_stored(now, blocks))
        if links:
            await self._demand_ours(now)
            with BLOCK_SECONDS.labels("links").time():
                await self._store.insert_links(links)
            self._parts.refresher.ask()
            self._links.note(links)
            await self._parts.fail_point(Point.LINKS_INSERTED)

    async def _links_of_stored(self, now: _Try, blocks: Blocks) -> list[LinkRow]:
        links = now.range_.links
        if not (now.in_doubt or now.range_.rejected or blocks.duplicates):
            return list(links.values())
        stored = set(blocks.events)
        sure = [link for position, link in links.items() if position in stored]
        return sure + await self._links_of_held(now, stored)

    async def _links_of_held(self, now: _Try, stored: Set[int]) -> list[LinkRow]:
        """Links of records that other tries wrote: only the store knows which are events."""
        asked = {
            position: link
            for position, link in now.range_.links.items()
            if (position in now.held or position in now.seen) and position not in stored
        }
        names = [(link.workspace_id, request_of(link.source_event_id)) for link in asked.values()]
        places = await self._marks.find(list(dict.fromkeys(names)))
        return [
            link
            for position, link in asked.items()
            if now.range_.place(position)
            in places.get((link.workspace_id, link.source_event_id), ())
        ]

    async def _look(self, range_: Range) -> Set[int]:
        return await look(self._store, self._parts.assignment, range_.first, range_.last)

    async def _demand_ours(self, now: _Try) -> None:
        """Before every block: whoever was away must not go on with what it had in mind."""
        away_seconds = self._parts.clock.monotonic() - now.proved
        if away_seconds > DOUBT_AFTER_SECONDS:
            raise Unavailable(f"{away_seconds:.0f} s passed while a range was being written")
        if away_seconds > PROVE_AFTER_SECONDS:
            await self._announce(now.range_)
            now.proved = self._parts.clock.monotonic()

    async def _announce(self, range_: Range) -> None:
        """Raises `Fenced` if the partition has another owner by now."""
        await self._parts.assignment.commit(Committed(range_.first, range_.last))
        COMMITS.labels("announced").inc()

    async def _demand_unbroken(self, now: _Try) -> None:
        """Raises `Tripped` if this range would add to what looks like a mistake of ours."""
        patience, clock = self._parts.patience, self._parts.clock
        await self._parts.breaker.demand(now.range_, now.held, clock.monotonic(), patience.pause)

    def _trace(self, range_: Range, blocks: Blocks, began: datetime) -> None:
        tracer = self._parts.tracer
        if tracer is not None and (traces := traces_of(range_, tracer)):
            now = self._parts.clock.now()
            tracer.note(describe(range_, blocks, self._tries, began, now), traces)


def _positions(rows: Iterable[RejectedRow | DuplicateRow]) -> list[int]:
    return [row.place.position for row in rows]
