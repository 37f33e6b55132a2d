"""A range's outcomes: which record goes into which table. Pure.

Owns the last word on every record: held already, rejected, a duplicate, or an event.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from datetime import datetime

import msgspec

from headrace.eventlog.port import Record
from headrace.processor.decode import decode_record, glimpse
from headrace.processor.ranges import Range
from headrace.schemas.event_ids import request_of
from headrace.schemas.outcomes import Code, Rejected
from headrace.schemas.records import FIRST_YEAR, LAST_YEAR, EventValue, is_replay
from headrace.store.port import DuplicateRow, Place, RejectedRow

_Name = tuple[str, str]
"""workspace_id and event_id."""


class Blocks(msgspec.Struct, frozen=True):
    """What goes into each table; together every record of the range that is not held already."""

    events: Sequence[int]
    """Positions, in order: their rows are packed, or made anew (`rows_at`)."""
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
    duplicates = [] if suspects is None else _find_duplicates(range_, held, suspects)
    left_out = held | {row.place.position for row in duplicates}
    assert len(range_.positions) == len(range_.records)
    if not (left_out or range_.rejected):
        return Blocks(range_.positions, [], [])
    others = left_out | range_.rejected.keys()
    events = [position for position in range_.positions if position not in others]
    return Blocks(events, _rejected_rows(range_, left_out), duplicates)


def _find_duplicates(range_: Range, held: Set[int], suspects: Suspects) -> list[DuplicateRow]:
    found: list[DuplicateRow] = []
    first: dict[_Name, Place] = {}
    first_stored: dict[_Name, Place] = {}
    named = zip(range_.records, range_.workspace_ids, range_.event_ids, strict=True)
    for record, workspace_id, event_id in named:
        if not event_id or record.position in held:
            continue
        name, place = (workspace_id, event_id), range_.place(record.position)
        replayed = is_replay(record.headers)
        is_rejected = record.position in range_.rejected
        elsewhere = [*suspects.stored.get(name, ())]
        if not replayed:
            elsewhere += suspects.rejected.get(name, ())
        elsewhere = [each for each in elsewhere if each != place]
        earlier = (first_stored if replayed else first).get(name)
        if replayed and is_rejected:
            first.setdefault(name, place)
            continue
        if elsewhere:
            earlier = min(elsewhere)
        if earlier is not None:
            found.append(DuplicateRow(place, *name, request_of(event_id), earlier))
            continue
        first.setdefault(name, place)
        if not is_rejected:
            first_stored[name] = place
    return found


def _rejected_rows(range_: Range, left_out: Set[int]) -> list[RejectedRow]:
    if not range_.rejected:
        return []
    return [
        _rejected_row(range_, record, why)
        for record in range_.records
        if (why := range_.rejected.get(record.position)) is not None
        and record.position not in left_out
    ]


def _rejected_row(range_: Range, record: Record, why: Rejected) -> RejectedRow:
    place, value = range_.place(record.position), decode_record(record.value)
    if why.code is Code.ERASED and isinstance(value, EventValue):
        return _erased_row(place, value, why)
    if isinstance(value, EventValue):
        return RejectedRow(
            place=place,
            workspace_id=value.workspace_id,
            event_id=value.event_id,
            event=value.event,
            user_id=value.user_id or "",
            anonymous_id=value.anonymous_id or "",
            timestamp=value.timestamp,
            received_at=value.received_at,
            properties_raw=bytes(value.properties),
            code=why.code.value,
            reason=why.reason,
            path=why.path,
            schema=why.schema,
            raw=record.value,
        )
    seen = glimpse(record.value)
    return RejectedRow(
        place=place,
        workspace_id=seen.get("workspace_id", ""),
        event_id=seen.get("event_id", ""),
        event=seen.get("event", ""),
        user_id=seen.get("user_id", ""),
        anonymous_id=seen.get("anonymous_id", ""),
        timestamp=None,
        received_at=_taken_at(record),
        properties_raw=b"",
        code=why.code.value,
        reason=why.reason,
        path=why.path,
        schema=why.schema,
        raw=record.value,
    )


def _erased_row(place: Place, value: EventValue, why: Rejected) -> RejectedRow:
    """That there was such a record, and nothing of whose it was."""
    return RejectedRow(
        place=place,
        workspace_id=value.workspace_id,
        event_id=value.event_id,
        event=value.event,
        user_id="",
        anonymous_id="",
        timestamp=None,
        received_at=value.received_at,
        properties_raw=b"",
        code=why.code.value,
        reason=why.reason,
        path="",
        schema="",
        raw=b"",
    )


def _taken_at(record: Record) -> datetime | None:
    """When the log took it: all that is known of a record which cannot be read."""
    is_known = FIRST_YEAR <= record.appended_at.year <= LAST_YEAR
    return record.appended_at if is_known else None
