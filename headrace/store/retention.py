"""For how long a workspace's rows are kept, and deleting those that are older.

Owns the table `retention_rows`, in which the last word on a workspace counts, and the statements.
What counts is when an event was received, not when it says that it happened: late events are kept
as long as others. Links are kept, for they say who is whom in what comes. Of what is deleted the
place in the log stays, a bit in `expired_positions_rows`: the ledger knows where it went.
"""
# ruff: noqa: S608 - names are ours, values are quoted

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

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
            count = int(connection.rows(f"SELECT count() FROM {name} WHERE {old}")[0][0])
            if count:
                connection.run(
                    f"INSERT INTO {quote_name(database)}.expired_positions_rows "
                    f"SELECT log_id, log_partition, intDiv(log_position, {MILLION}) AS million, "
                    f"workspace_id, groupBitmapState(toUInt32(log_position % {MILLION})) "
                    f"FROM {name} WHERE {old} "
                    "GROUP BY log_id, log_partition, million, workspace_id"
                )
                connection.run(f"DELETE FROM {name} WHERE {old}", settings=_DELETE)
                deleted += count
    return deleted
