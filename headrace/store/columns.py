"""Rows as columns: what of which row goes into which column of the tables.

Owns the order and the types in which blocks are sent. One comprehension per column.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from headrace.store.blocks import Columns
from headrace.store.port import (
    DuplicateRow,
    EventColumns,
    EventRow,
    LinkRow,
    MarkedRequest,
    Place,
    RejectedRow,
)

_TEXT: Final = "String"
_FLAG: Final = "Bool"
_TIME: Final = "DateTime64(6, 'UTC')"
_MAYBE_TIME: Final = f"Nullable({_TIME})"
_PARTITION: Final = "UInt32"
_POSITION: Final = "UInt64"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def event_columns(events: EventColumns) -> Columns:
    return {
        "workspace_id": (_TEXT, events.workspace_ids),
        "event_id": (_TEXT, events.event_ids),
        "event": (_TEXT, events.events),
        "user_id": (_TEXT, events.user_ids),
        "anonymous_id": (_TEXT, events.anonymous_ids),
        "user_known": (_FLAG, events.user_known),
        "anonymous_known": (_FLAG, events.anonymous_known),
        "timestamp": (_TIME, _microseconds(events.timestamps)),
        "received_at": (_TIME, _microseconds_in_runs(events.received_at)),
        "timeliness": (_TEXT, events.timeliness),
        "properties_raw": (_TEXT, events.properties_raw),
        "log_id": (_TEXT, events.log_ids),
        "log_partition": (_PARTITION, events.partitions),
        "log_position": (_POSITION, events.positions),
    }


def columns_of(rows: Sequence[EventRow]) -> EventColumns:
    return EventColumns(
        [row.workspace_id for row in rows],
        [row.event_id for row in rows],
        [row.event for row in rows],
        [row.user_id for row in rows],
        [row.anonymous_id for row in rows],
        [row.user_known for row in rows],
        [row.anonymous_known for row in rows],
        [row.timestamp for row in rows],
        [row.received_at for row in rows],
        [row.timeliness for row in rows],
        [row.properties_raw for row in rows],
        [row.place.log_id for row in rows],
        [row.place.partition for row in rows],
        [row.place.position for row in rows],
    )


def rejected_columns(rows: Sequence[RejectedRow]) -> Columns:
    return {
        "workspace_id": (_TEXT, [row.workspace_id for row in rows]),
        "event_id": (_TEXT, [row.event_id for row in rows]),
        "event": (_TEXT, [row.event for row in rows]),
        "user_id": (_TEXT, [row.user_id for row in rows]),
        "anonymous_id": (_TEXT, [row.anonymous_id for row in rows]),
        "timestamp": (_MAYBE_TIME, [row.timestamp for row in rows]),
        "received_at": (_MAYBE_TIME, [row.received_at for row in rows]),
        "properties_raw": (_TEXT, [row.properties_raw for row in rows]),
        "code": (_TEXT, [str(row.code) for row in rows]),
        "reason": (_TEXT, [row.reason for row in rows]),
        "path": (_TEXT, [row.path for row in rows]),
        "schema": (_TEXT, [row.schema for row in rows]),
        "raw": (_TEXT, [row.raw for row in rows]),
        **_place_columns([row.place for row in rows]),
    }


def duplicate_columns(rows: Sequence[DuplicateRow]) -> Columns:
    return {
        "workspace_id": (_TEXT, [row.workspace_id for row in rows]),
        "event_id": (_TEXT, [row.event_id for row in rows]),
        "request": (_TEXT, [row.request for row in rows]),
        **_place_columns([row.place for row in rows]),
        **_place_columns([row.kept for row in rows], prefix="kept_"),
    }


def link_columns(rows: Sequence[LinkRow]) -> Columns:
    return {
        "workspace_id": (_TEXT, [row.workspace_id for row in rows]),
        "anonymous_id": (_TEXT, [row.anonymous_id for row in rows]),
        "user_id": (_TEXT, [row.user_id for row in rows]),
        "received_at": (_TIME, [row.received_at for row in rows]),
        "source_event_id": (_TEXT, [row.source_event_id for row in rows]),
    }


def marked_columns(rows: Sequence[MarkedRequest]) -> Columns:
    return {
        "log_id": (_TEXT, [row.log_id for row in rows]),
        "log_partition": (_PARTITION, [row.partition for row in rows]),
        "workspace_id": (_TEXT, [row.workspace_id for row in rows]),
        "request": (_TEXT, [row.request for row in rows]),
        "appended_at": (_TIME, [row.appended_at for row in rows]),
    }


def _microseconds(times: Sequence[datetime]) -> list[int]:
    """Since 1970, as the column holds them: 0.2 µs a time where the driver takes 0.5."""
    return [(time - _EPOCH) // _MICROSECOND for time in times]


def _microseconds_in_runs(times: Sequence[datetime]) -> list[int]:
    """The same where neighbours are mostly equal, as receipts of one request are: a tenth."""
    found: list[int] = []
    last, micros = _EPOCH, 0
    for time in times:
        if time != last:
            last, micros = time, (time - _EPOCH) // _MICROSECOND
        found.append(micros)
    return found


def _place_columns(places: Sequence[Place], prefix: str = "") -> dict[str, tuple[str, list[Any]]]:
    return {
        f"{prefix}log_id": (_TEXT, [place.log_id for place in places]),
        f"{prefix}log_partition": (_PARTITION, [place.partition for place in places]),
        f"{prefix}log_position": (_POSITION, [place.position for place in places]),
    }
