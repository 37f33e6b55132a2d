"""A range's outcomes as blocks of rows: what goes into which table. Pure.

Owns the last word on every record: held already, rejected, a duplicate, or an event.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from datetime import datetime

import msgspec

from headrace.eventlog.port import Record
from headrace.processor.decode import glimpse
from headrace.processor.ranges import Range
from headrace.schemas.event_ids import request_of
from headrace.schemas.outcomes import Rejected
from headrace.schemas.records import FIRST_YEAR, LAST_YEAR, is_replay
from headrace.store.port import DuplicateRow, EventRow, Place, RejectedRow

_Name = tuple[str, str]
"""workspace_id and event_id."""


class Blocks(msgspec.Struct, frozen=True):
    """One block per table; together every record of the range that is not held already."""

    events: list[EventRow]
    rejected: list[RejectedRow]
    duplicates: list[DuplicateRow]


class Suspects(msgspec.Struct, frozen=True):
    """Where the store holds ids of the requests that may come twice in this range.

    `(workspace_id, event_id)` → places in `events`, and in `rejected_events`.
    """

    stored: Mapping[_Name, Collection[Place]] = {}
    rejected: Mapping[_Name, Collection[Place]] = {}


def make_blocks(range_: Range, held: Set[int], suspects: Suspects | None) -> Blocks:
    """Sort the range's records by outcome, leaving out the positions in `held`.

    With `suspects`, a record whose id is held at another place is a duplicate, and of equal
    ids in the range the first is kept. A replay is there to be judged anew: what was rejected
    does not speak against it, and rejected again it is a row of its own.
    """
    events = _storable(range_, held)
    rejected = _rejected_rows(range_, held)
    if suspects is None:
        return Blocks(events, rejected, [])
    kept = _find_duplicates(range_, held, suspects)
    duplicates = [
        _duplicate_row(row, kept[row.place]) for row in range_.rows if row and row.place in kept
    ]
    return Blocks(
        [row for row in events if row.place not in kept],
        [row for row in rejected if row.place not in kept],
        duplicates,
    )


def _storable(range_: Range, held: Set[int]) -> list[EventRow]:
    left_out = held | range_.rejected.keys() if held or range_.rejected else held
    rows = [row for row in range_.rows if row is not None]
    if not left_out:
        return rows
    return [row for row in rows if row.place.position not in left_out]


def _find_duplicates(range_: Range, held: Set[int], suspects: Suspects) -> dict[Place, Place]:
    """Which places are duplicates, and of which."""
    kept: dict[Place, Place] = {}
    first: dict[_Name, Place] = {}
    first_stored: dict[_Name, Place] = {}
    for record, row in zip(range_.records, range_.rows, strict=True):
        if row is None or record.position in held:
            continue
        name = (row.workspace_id, row.event_id)
        replayed = is_replay(record.headers)
        is_rejected = record.position in range_.rejected
        elsewhere = [*suspects.stored.get(name, ())]
        if not replayed:
            elsewhere += suspects.rejected.get(name, ())
        elsewhere = [place for place in elsewhere if place != row.place]
        earlier = (first_stored if replayed else first).get(name)
        if replayed and is_rejected:
            first.setdefault(name, row.place)
        elif elsewhere:
            kept[row.place] = min(elsewhere)
        elif earlier is not None:
            kept[row.place] = earlier
        else:
            first.setdefault(name, row.place)
            if not is_rejected:
                first_stored[name] = row.place
    return kept


def _duplicate_row(row: EventRow, kept: Place) -> DuplicateRow:
    return DuplicateRow(row.place, row.workspace_id, row.event_id, request_of(row.event_id), kept)


def _rejected_rows(range_: Range, held: Set[int]) -> list[RejectedRow]:
    if not range_.rejected:
        return []
    return [
        _rejected_row(range_, record, row, why)
        for record, row in zip(range_.records, range_.rows, strict=True)
        if (why := range_.rejected.get(record.position)) is not None and record.position not in held
    ]


def _rejected_row(
    range_: Range, record: Record, row: EventRow | None, why: Rejected
) -> RejectedRow:
    seen = glimpse(record.value) if row is None else {}
    return RejectedRow(
        place=range_.place(record.position),
        workspace_id=row.workspace_id if row else seen.get("workspace_id", ""),
        event_id=row.event_id if row else seen.get("event_id", ""),
        event=row.event if row else seen.get("event", ""),
        user_id=row.user_id if row else seen.get("user_id", ""),
        anonymous_id=row.anonymous_id if row else seen.get("anonymous_id", ""),
        timestamp=row.timestamp if row else None,
        received_at=row.received_at if row else _taken_at(record),
        properties_raw=row.properties_raw if row else b"",
        code=why.code.value,
        reason=why.reason,
        path=why.path,
        schema=why.schema,
        raw=record.value,
    )


def _taken_at(record: Record) -> datetime | None:
    """When the log took it: all that is known of a record which cannot be read."""
    is_known = FIRST_YEAR <= record.appended_at.year <= LAST_YEAR
    return record.appended_at if is_known else None
