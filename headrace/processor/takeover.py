"""What a new owner of a partition does first: find where to go on, and what is held already.

Owns the start position and the look at what earlier owners left; the protocol it belongs to is
told in `settle.py`.

- A committed position is where to go on; a range announced from there is repeated exactly.
- Without one the tables tell: ranges are written in order and none is wider than `WIDEST`, so
  everything more than that below the highest position found is settled. From there on what is
  held is skipped, rather than starting right after the highest: the last range may have been
  half written when its commit was lost.
- Rows that end before the log's earliest record: what lies between was forgotten before it was
  settled, and a person must know.
- Never at the end of the log, which would skip what nobody has seen.
- A position that the log does not hold means that records were lost or another log took this
  one's name. No guess is right then: `LookupError`, and a person decides.
"""

from __future__ import annotations

from collections.abc import Set

import msgspec

from headrace.eventlog.port import Assignment
from headrace.processor.ranges import WIDEST, Range
from headrace.store.port import Store


class Start(msgspec.Struct, frozen=True):
    """Where a new owner goes on.

    `[position, pending_to]` is to be repeated exactly, if the latter is not None. Positions
    before `look_until` may be held already.
    """

    position: int
    pending_to: int | None
    look_until: int


async def find_start(assignment: Assignment, store: Store) -> Start:
    """Where to go on; raises `LookupError` if the log does not hold what was committed."""
    committed = await assignment.committed()
    earliest, end = await assignment.ends()
    if committed is None:
        highest = await store.highest_position(assignment.log_id, assignment.partition)
        after = earliest if highest is None else highest + 1
        # Rows that end before the log begins: what lies between was forgotten unsettled.
        position = after if after < earliest else max(earliest, after - WIDEST)
        start = Start(position, None, after)
    else:
        start = Start(committed.position, committed.pending_to, end)
    _demand(start, assignment, earliest, end)
    return start


class Held:
    """Positions that were held when the partition was taken over, asked for in windows."""

    def __init__(self, store: Store, assignment: Assignment, look_until: int) -> None:
        self._store = store
        self._assignment = assignment
        self._look_until = look_until
        self._asked_until = 0
        self._positions: frozenset[int] = frozenset()

    async def within(self, range_: Range) -> Set[int]:
        """Which positions of a range were held; ranges must be asked about in order.

        One question for a window of `WIDEST` positions; none past what was there at the start.
        """
        if range_.first >= self._look_until:
            self._positions = frozenset()
        elif range_.last >= self._asked_until < self._look_until:
            until = min(self._look_until, max(range_.first + WIDEST, range_.last + 1))
            self._positions = await look(self._store, self._assignment, range_.first, until - 1)
            self._asked_until = until
        if not self._positions:
            return self._positions
        return self._positions.intersection([record.position for record in range_.records])


async def look(store: Store, assignment: Assignment, first: int, last: int) -> frozenset[int]:
    """Which positions of `[first, last]` the store holds now, in any of the three tables."""
    return frozenset(
        await store.held_positions(assignment.log_id, assignment.partition, first, last)
    )


def _demand(start: Start, assignment: Assignment, earliest: int, end: int) -> None:
    last = start.position if start.pending_to is None else start.pending_to + 1
    if earliest <= start.position <= end and last <= end and start.look_until <= end:
        return
    raise LookupError(
        f"log {assignment.log_id} partition {assignment.partition} holds positions {earliest} "
        f"to {end - 1}, but is settled up to {start.position}"
        f"{'' if start.pending_to is None else f' with a range begun to {start.pending_to}'}"
        f"{f', and the store holds rows up to {start.look_until - 1}' * (start.look_until > end)}: "
        "records were lost, or another log took this one's name. Restore the log, or move it "
        "away to start with a new one (Kafka: set the group's position where to go on)."
    )
