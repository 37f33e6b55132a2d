"""Who an event is about and when it happened, seen from its receipt: its row. Pure.

Owns which ids count as known, and what is late or in the future. Nothing here reads a clock:
`now` is when the collector received the event.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.processor.decode import decode_record
from headrace.processor.ranges import Range
from headrace.schemas.nobody import LAST_CHARACTERS, is_nobody
from headrace.schemas.records import FUTURE_AFTER_SECONDS, LATE_AFTER_SECONDS, EventValue
from headrace.store.port import EventColumns, EventRow, Place

_LATE_BEFORE: Final = timedelta(seconds=-LATE_AFTER_SECONDS)
_FUTURE_AFTER: Final = timedelta(seconds=FUTURE_AFTER_SECONDS)
_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


def identify(range_: Range) -> None:
    """The step that makes rows of events, column by column: 1 µs an event less than row by row.

    Rejected events get theirs too: a record that an earlier owner stored under an older schema
    still makes its link.
    """
    fields, range_.fields = range_.fields, None
    assert fields is not None  # `decode` made them
    range_.positions = positions = [record.position for record in range_.records]
    count = len(positions)
    range_.columns = EventColumns(
        workspace_ids=fields.workspace_ids,
        event_ids=fields.event_ids,
        events=fields.events,
        user_ids=fields.user_ids,
        anonymous_ids=fields.anonymous_ids,
        user_known=_are_known(fields.user_ids),
        anonymous_known=_are_known(fields.anonymous_ids),
        timestamps=fields.timestamps,
        received_at=fields.received_at,
        timeliness=_judge_times(fields.timestamps, fields.received_at),
        properties_raw=fields.properties,
        log_ids=[range_.log_id] * count,
        partitions=[range_.partition] * count,
        positions=positions,
    )


def rows_at(range_: Range, positions: Sequence[int]) -> list[EventRow]:
    """The rows of events that could be read, made anew from their records; positions in order."""
    wanted = set(positions)
    rows = []
    for record in range_.records:
        if record.position in wanted:
            value = decode_record(record.value)
            assert type(value) is EventValue
            rows.append(identify_event(range_.place(record.position), value))
    return rows


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


def _are_known(ids: Sequence[str]) -> list[bool]:
    last = LAST_CHARACTERS
    return [one != "" and (one[-1] not in last or not is_nobody(one)) for one in ids]


def _judge_times(timestamps: Sequence[datetime], received_at: Sequence[datetime]) -> list[str]:
    """`judge_time` for many, where neighbours were mostly received at once."""
    judged: list[str] = []
    last, earliest, latest = _NO_TIME, _NO_TIME, _NO_TIME
    for timestamp, now in zip(timestamps, received_at, strict=True):
        if now != last:
            last, earliest, latest = now, now + _LATE_BEFORE, now + _FUTURE_AFTER
        judged.append(
            "on_time"
            if earliest <= timestamp <= latest
            else "late"
            if timestamp < earliest
            else "future"
        )
    return judged
