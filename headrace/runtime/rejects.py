"""Rejected events as the store holds them: which there are, and what became of them.

Owns the queries behind `headrace rejected`. A record that was replayed and rejected again is one
event with several rows; what counts here are events.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final

import msgspec

from headrace.runtime.store_reader import StoreReader, lines_of
from headrace.schemas.errors import HeadraceError
from headrace.schemas.outcomes import Code

_EVENT_ID: Final = re.compile(r"evt_[0-9a-z]{26}")
_ISO: Final = (
    "concat(replaceOne(toString(ifNull({column}, toDateTime64(0, 6, 'UTC'))), ' ', 'T'), 'Z')"
)
"""A DateTime64 in UTC as the API writes times."""
_ONE_ROW_EACH: Final = (
    "LIMIT 1 BY workspace_id, if(event_id = '', concat(log_id, ':', toString(log_partition), ':', "
    "toString(log_position)), event_id)"
)


class Wanted(msgspec.Struct, frozen=True):
    """Which rejected events: those that fit everything that is not None."""

    workspace_id: str | None = None
    code: str | None = None
    event: str | None = None
    since: datetime | None = None
    ids: Collection[str] = ()
    with_replayed: bool = False


class RejectCount(msgspec.Struct, frozen=True):
    """How many events of one type were rejected for one cause."""

    workspace_id: str
    event: str
    code: str
    path: str
    reason: str
    count: int
    last_received_at: str


class Reject(msgspec.Struct, frozen=True):
    """One rejected event, as `list` shows it."""

    workspace_id: str
    event_id: str
    event: str
    received_at: str
    code: str
    path: str
    reason: str
    replayed: bool


class RejectedEvent(msgspec.Struct, frozen=True):
    """One rejected event, whole, as it goes through again."""

    workspace_id: str
    event_id: str
    event: str
    user_id: str
    anonymous_id: str
    timestamp: str
    received_at: str
    properties_raw: str


class Fate(msgspec.Struct, frozen=True):
    """What became of a rejected event so far: how often it was rejected, whether it is stored."""

    event_id: str
    rows: int
    stored: bool


def count_rejects(store: StoreReader, wanted: Wanted) -> list[RejectCount]:
    """Counts by workspace, event type, code and path, the largest first."""
    where, parameters = _where(wanted)
    return store.rows(
        f"""
        SELECT workspace_id, event, code, path, any(reason) AS reason, count() AS count,
            {_iso("max(received_at)")} AS last_received_at
        FROM (SELECT * FROM rejected_events WHERE {where} {_ONE_ROW_EACH})
        GROUP BY workspace_id, event, code, path
        ORDER BY count DESC, workspace_id, event, code, path LIMIT 1000
        """,  # noqa: S608 - made of constants; values are parameters
        RejectCount,
        **parameters,
    )


def latest_rejects(store: StoreReader, wanted: Wanted, limit: int) -> list[Reject]:
    """The last ones, newest first."""
    where, parameters = _where(wanted)
    return store.rows(
        f"""
        SELECT workspace_id, event_id, event, {_iso("received_at")} AS received_at, code, path,
            reason, toBool(replayed) AS replayed
        FROM (SELECT * FROM rejected_events WHERE {where} {_ONE_ROW_EACH})
        ORDER BY 4 DESC, event_id LIMIT {int(limit)}
        """,  # noqa: S608 - as above
        Reject,
        **parameters,
    )


def rejected_events(store: StoreReader, wanted: Wanted, limit: int) -> Iterator[RejectedEvent]:
    """Those that are not stored by now and can be read, by workspace, oldest first."""
    where, parameters = _where(wanted)
    sql = f"""
        SELECT workspace_id, event_id, event, user_id, anonymous_id,
            {_iso("timestamp")} AS timestamp, {_iso("received_at")} AS received_at, properties_raw
        FROM rejected_events
        WHERE {where} AND {_readable()}
        ORDER BY workspace_id, 7, event_id LIMIT 1 BY workspace_id, event_id LIMIT {int(limit)}
        """  # noqa: S608 - as above
    decoder = msgspec.json.Decoder(RejectedEvent)
    with store.stream(sql, "JSONEachRow", parameters) as answer:
        for line in lines_of(answer):
            yield decoder.decode(line)


def count_unreadable(store: StoreReader, wanted: Wanted) -> int:
    """Rejected records that hold no event which could go through again."""
    where, parameters = _where(wanted)
    sql = f"SELECT count() AS count FROM rejected_events WHERE {where} AND NOT ({_readable()})"  # noqa: S608 - as above
    return store.rows(sql, _Count, **parameters)[0].count


def fates(store: StoreReader, workspace_id: str, ids: Collection[str]) -> dict[str, Fate]:
    """What became of these events so far."""
    sql = f"""
        SELECT event_id, count() AS rows, toBool(max(replayed)) AS stored FROM rejected_events
        WHERE workspace_id = {{workspace_id:String}} AND event_id IN ({_listed(ids)})
        GROUP BY event_id
        """  # noqa: S608 - ids are checked
    found = store.rows(sql, Fate, workspace_id=workspace_id)
    return {fate.event_id: fate for fate in found}


class _Count(msgspec.Struct, frozen=True):
    count: int


def _where(wanted: Wanted) -> tuple[str, dict[str, str]]:
    conditions = ["true" if wanted.with_replayed else "NOT replayed"]
    parameters = {}
    for name in ("workspace_id", "code", "event"):
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(f"{name} = {{{name}:String}}")
            parameters[name] = value
    if wanted.since is not None:
        conditions.append("received_at >= parseDateTime64BestEffort({since:String}, 6, 'UTC')")
        parameters["since"] = wanted.since.isoformat()
    if wanted.ids:
        conditions.append(f"event_id IN ({_listed(wanted.ids)})")
    return " AND ".join(conditions), parameters


def _listed(ids: Collection[str]) -> str:
    for each in ids:
        if not _EVENT_ID.fullmatch(each):
            raise HeadraceError(f"{each!r} is no event id: they look like evt_01hx4j7k9m2n3p5q…")
    return ", ".join(f"'{each}'" for each in ids) or "''"


def _readable() -> str:
    return f"code != '{Code.UNREADABLE_RECORD.value}' AND isNotNull(received_at)"


def _iso(column: str) -> str:
    return _ISO.format(column=column)
