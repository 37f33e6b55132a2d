"""For how long rows are kept, by workspace, or until there are too many for the disk.

Owns the table `retention_rows`, in which the last word on a workspace counts, and the statements.
What counts is when an event was received, not when it says that it happened: late events are kept
as long as others. Links are kept, for they say who is whom in what comes. Of what is deleted the
place in the log stays, a bit in `expired_positions_rows`: the ledger knows where it went.
"""
# ruff: noqa: S608 - names are ours, values are quoted

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from headrace.schemas.errors import HeadraceError
from headrace.store.connection import Connection, Settings
from headrace.store.text import moment, quote, quote_name

FOR_EVER: Final = 0
MOST_DAYS: Final = 36_500
MILLION: Final = 1_000_000
"""Positions whose bits are kept together."""
_RECEIVED: Final = {
    "events_rows": "received_at",
    "rejected_events_rows": "received_at",
    "deduplicated_events_rows": "deduplicated_at",
}
_DELETE: Final[Settings] = {"lightweight_deletes_sync": 2}
"""Rows are hidden at once and leave the disk with the next merge of their part."""
_IN_BACKGROUND: Final[Settings] = {"mutations_sync": 0}
YOUNGEST: Final = timedelta(hours=1)
"""What was received since is not deleted for want of room: then the store refuses instead."""
_SLOT: Final = timedelta(minutes=10)


def keep_for(connection: Connection, database: str, workspace_id: str, days: int) -> None:
    """Keep the workspace's rows for so many days from now on, `FOR_EVER` without a bound.

    Raises `HeadraceError` for a number that is none of days.
    """
    if not 0 <= days <= MOST_DAYS:
        raise HeadraceError(f"{days} is no number of days: give 1 to {MOST_DAYS:,}, or `forever`")
    connection.run(
        f"INSERT INTO {quote_name(database)}.retention_rows (workspace_id, days) "
        f"SELECT {quote(workspace_id)}, {int(days)}"
    )


def kept_days(connection: Connection, database: str) -> Mapping[str, int]:
    """By workspace, those that have a bound."""
    rows = connection.rows(
        f"SELECT workspace_id, days FROM {quote_name(database)}.retention_rows FINAL WHERE days > 0"
    )
    return {str(workspace): int(days) for workspace, days in rows}


def delete_old(connection: Connection, database: str, now: datetime) -> int:
    """Delete what is past its time; returns how many rows there were. May be repeated."""
    deleted = 0
    for workspace_id, days in kept_days(connection, database).items():
        for table, received in _RECEIVED.items():
            before = moment(now - timedelta(days=days))
            name = f"{quote_name(database)}.{table}"
            old = f"workspace_id = {quote(workspace_id)} AND {received} < {before}"
            if count := _count(connection, name, old):
                _keep_places(connection, database, name, old)
                connection.run(f"DELETE FROM {name} WHERE {old}", settings=_DELETE)
                deleted += count
    return deleted


def delete_beyond(connection: Connection, database: str, most_bytes: int, now: datetime) -> int:
    """If the database takes more, delete what was received first, of all workspaces, until it
    takes a tenth less; but nothing of the last hour.

    Returns how many rows there were. They leave the disk in the background, by a mutation; while
    one is at work, nothing more is begun. May be repeated.
    """
    sizes = _sizes(connection, database)
    excess = sum(size.bytes for size in sizes.values()) - most_bytes
    if excess <= 0 or _is_at_work(connection, database):
        return 0
    cut = _cut(connection, database, sizes, excess + most_bytes // 10, now - YOUNGEST)
    if cut is None:
        return 0
    deleted = 0
    for table, received in _RECEIVED.items():
        name, old = f"{quote_name(database)}.{table}", f"{received} < {moment(cut)}"
        if count := _count(connection, name, old):
            _keep_places(connection, database, name, old)
            connection.run(f"ALTER TABLE {name} DELETE WHERE {old}", settings=_IN_BACKGROUND)
            deleted += count
    return deleted


class _Size(msgspec.Struct, frozen=True):
    rows: int
    bytes: int


def _sizes(connection: Connection, database: str) -> Mapping[str, _Size]:
    """By table, of what it has on the disk."""
    rows = connection.rows(
        "SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts "
        f"WHERE database = {quote(database)} AND active GROUP BY table"
    )
    return {str(table): _Size(int(count), int(size)) for table, count, size in rows}


def _is_at_work(connection: Connection, database: str) -> bool:
    rows = connection.rows(
        f"SELECT count() FROM system.mutations WHERE database = {quote(database)} "
        f"AND table IN ({', '.join(map(quote, _RECEIVED))}) AND NOT is_done"
    )
    return int(rows[0][0]) > 0


def _cut(
    connection: Connection,
    database: str,
    sizes: Mapping[str, _Size],
    wanted_bytes: int,
    latest: datetime,
) -> datetime | None:
    """Up to when rows must go for so many bytes; None if there is none that may."""
    slots: defaultdict[datetime, float] = defaultdict(float)
    for table, received in _RECEIVED.items():
        size = sizes.get(table)
        if size is None or not size.rows:
            continue
        rows = connection.rows(
            f"SELECT toUnixTimestamp(toStartOfTenMinutes(assumeNotNull({received}))) AS slot, "
            f"count() FROM {quote_name(database)}.{table} "
            f"WHERE {received} < {moment(latest)} GROUP BY slot"
        )
        for slot, count in rows:
            slots[datetime.fromtimestamp(int(slot), UTC)] += int(count) * size.bytes / size.rows
    cut = None
    for slot in sorted(slots):
        if wanted_bytes <= 0:
            break
        wanted_bytes -= int(slots[slot])
        cut = min(slot + _SLOT, latest)
    return cut


def _count(connection: Connection, name: str, where: str) -> int:
    return int(connection.rows(f"SELECT count() FROM {name} WHERE {where}")[0][0])


def _keep_places(connection: Connection, database: str, name: str, where: str) -> None:
    connection.run(
        f"INSERT INTO {quote_name(database)}.expired_positions_rows "
        f"SELECT log_id, log_partition, intDiv(log_position, {MILLION}) AS million, "
        f"workspace_id, groupBitmapState(toUInt32(log_position % {MILLION})) "
        f"FROM {name} WHERE {where} GROUP BY log_id, log_partition, million, workspace_id"
    )
