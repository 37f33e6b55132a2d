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
from headrace.store.guarantees import ON_ONE_SERVER, Guarantees
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
_HIDING: Final[Settings] = {"lightweight_deletes_sync": 2}
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


class Retention:
    """Deletes from one database, for whoever does it beside the work."""

    def __init__(
        self, connection: Connection, database: str, guarantees: Guarantees = ON_ONE_SERVER
    ) -> None:
        self._connection = connection
        self._name = database
        self._database = quote_name(database)
        self._guarantees = guarantees

    def delete_old(self, now: datetime) -> int:
        """Delete what is past its time; returns how many rows there were. May be repeated."""
        deleted = 0
        for workspace_id, days in kept_days(self._connection, self._name).items():
            for table, received in _RECEIVED.items():
                before = moment(now - timedelta(days=days))
                where = f"workspace_id = {quote(workspace_id)} AND {received} < {before}"
                deleted += self._delete(table, where, "DELETE FROM {table} WHERE {where}", _HIDING)
        return deleted

    def delete_beyond(self, most_bytes: int, now: datetime) -> int:
        """If the database takes more, delete what was received first, of all workspaces, until it
        takes a tenth less; but nothing of the last hour.

        Returns how many rows there were. They leave the disk in the background, by a mutation;
        while one is at work, nothing more is begun. May be repeated. Raises `HeadraceError` where
        deleting does not help.
        """
        sizes = self._sizes()
        excess = sum(size.bytes for size in sizes.values()) - most_bytes
        if excess <= 0 or self._is_at_work():
            return 0
        others = sum(size.bytes for table, size in sizes.items() if table not in _RECEIVED)
        wanted = excess + most_bytes // 10
        if others > most_bytes - most_bytes // 10:
            raise HeadraceError(
                f"the store is to take {most_bytes:,} bytes, and what is not deleted of it (links "
                f"above all) takes {others:,}: nothing is deleted. Raise HEADRACE_STORE_MAX_BYTES"
            )
        cut = self._cut(sizes, wanted, now - YOUNGEST)
        if cut is None:
            return 0
        deleted = 0
        for table, received in _RECEIVED.items():
            where = f"{received} < {moment(cut)}"
            deleted += self._delete(
                table, where, "ALTER TABLE {table} DELETE WHERE {where}", _IN_BACKGROUND
            )
        return deleted

    def _delete(self, table: str, where: str, statement: str, settings: Settings) -> int:
        """Keep the places of rows, then delete them by a statement; how many there were.

        Only up to the highest there is now of each partition: its rows come in order, so one that
        comes later, however long ago it was received, waits for the next time.
        """
        name = f"{self._database}.{table}"
        ends = self._connection.rows(
            f"SELECT log_id, log_partition, max(log_position), count() FROM {name} "
            f"WHERE {where} GROUP BY log_id, log_partition",
            settings=self._guarantees.reads,
        )
        if not ends:
            return 0
        upto = " OR ".join(
            f"(log_id = {quote(str(log_id))} AND log_partition = {int(partition)} "
            f"AND log_position <= {int(highest)})"
            for log_id, partition, highest, _ in ends
        )
        where = f"{where} AND ({upto})"
        self._connection.run(
            f"INSERT INTO {self._database}.expired_positions_rows "
            f"SELECT log_id, log_partition, intDiv(log_position, {MILLION}) AS million, "
            f"workspace_id, groupBitmapState(toUInt32(log_position % {MILLION})) "
            f"FROM {name} WHERE {where} GROUP BY log_id, log_partition, million, workspace_id",
            settings={**self._guarantees.inserts, **self._guarantees.reads},
        )
        self._connection.run(statement.format(table=name, where=where), settings=settings)
        return sum(int(count) for *_, count in ends)

    def _sizes(self) -> Mapping[str, _Size]:
        """By table, of what it has on the disk."""
        rows = self._connection.rows(
            "SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts "
            f"WHERE database = {quote(self._name)} AND active GROUP BY table"
        )
        return {str(table): _Size(int(count), int(size)) for table, count, size in rows}

    def _is_at_work(self) -> bool:
        """Whether a mutation is; raises `HeadraceError` if it gets nowhere."""
        rows = self._connection.rows(
            "SELECT table, latest_fail_reason FROM system.mutations "
            f"WHERE database = {quote(self._name)} "
            f"AND table IN ({', '.join(map(quote, _RECEIVED))}) AND NOT is_done"
        )
        for table, reason in rows:
            if reason:
                raise HeadraceError(f"rows of {table} cannot be deleted: {str(reason)[:300]}")
        return bool(rows)

    def _cut(
        self, sizes: Mapping[str, _Size], wanted_bytes: int, latest: datetime
    ) -> datetime | None:
        """Up to when rows must go for so many bytes; None if there is none that may."""
        slots: defaultdict[datetime, float] = defaultdict(float)
        for table, received in _RECEIVED.items():
            size = sizes.get(table)
            if size is None or not size.rows:
                continue
            rows = self._connection.rows(
                f"SELECT toUnixTimestamp(toStartOfTenMinutes(assumeNotNull({received}))) AS slot, "
                f"count() FROM {self._database}.{table} "
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


class _Size(msgspec.Struct, frozen=True):
    rows: int
    bytes: int
