"""Who an event is about and when it happened, seen from its receipt: its row. Pure.

Owns which ids count as known, and what is late or in the future. Nothing here reads a clock:
`now` is when the collector received the event.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from headrace.processor.ranges import Range
from headrace.schemas.nobody import is_nobody
from headrace.schemas.outcomes import Rejected
from headrace.schemas.records import FUTURE_AFTER_SECONDS, LATE_AFTER_SECONDS, EventValue
from headrace.store.port import EventRow, Place

_LATE_BEFORE: Final = timedelta(seconds=-LATE_AFTER_SECONDS)
_FUTURE_AFTER: Final = timedelta(seconds=FUTURE_AFTER_SECONDS)


def identify(range_: Range) -> None:
    """The step that makes rows of events.

    Rejected events get theirs too: `rejected_events` has the same columns, and a record that
    an earlier owner stored under an older schema still makes its link.
    """
    log_id, partition = range_.log_id, range_.partition
    range_.rows = [
        None
        if isinstance(value, Rejected)
        else identify_event(Place(log_id, partition, record.position), value)
        for record, value in zip(range_.records, range_.values, strict=True)
    ]
    range_.values = ()  # a large range holds enough without them


def identify_event(place: Place, value: EventValue) -> EventRow:
    """The row an event becomes if it is stored."""
    return EventRow(
        place,
        value.workspace_id,
        value.event_id,
        value.event,
        value.user_id or "",
        value.anonymous_id or "",
        not is_nobody(value.user_id),
        not is_nobody(value.anonymous_id),
        value.timestamp,
        value.received_at,
        judge_time(value.timestamp, value.received_at),
        bytes(value.properties),
    )


def judge_time(timestamp: datetime, now: datetime) -> str:
    """`on_time`, `late` (over 24 h before `now`) or `future` (over 1 h after it)."""
    ahead = timestamp - now
    if ahead > _FUTURE_AFTER:
        return "future"
    return "late" if ahead < _LATE_BEFORE else "on_time"
