"""What the store holds, by position in the log: the statements behind `headrace ledger`.

Owns how that is asked with bounded memory, however many rows there are. One look at all positions
keeps a bit for each, by windows of a million (125 kB); only windows that are not whole are then
looked into, one at a time, by sorting their positions. Of rows that were deleted as old
the positions are kept (`store/retention.py`): they count as held, as *expired*.
"""
# ruff: noqa: S608 - names are ours, values are quoted or numbers

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from headrace.runtime.store_reader import StoreReader
from headrace.store.retention import MILLION
from headrace.store.text import quote

WINDOW: Final = MILLION
"""Positions that are counted and sorted together."""
MOST_RANGES: Final = 1_000
"""Of a window so many ranges are named."""

_TABLES: Final = (
    "events_rows",
    "rejected_events_rows FINAL",
    "deduplicated_events_rows FINAL",
)
_EXPIRED: Final = "expired_positions_rows"
_PLACE: Final = "log_id, log_partition"
_TIMES: Final = ("received_at", "received_at", "deduplicated_at")
_CONSISTENT: Final = " SETTINGS select_sequential_consistency = 1"


class Span(msgspec.Struct, frozen=True):
    """Positions `[first, end)` of a partition."""

    log_id: str
    partition: int
    first: int
    end: int

    @property
    def sql(self) -> str:
        return (
            f"log_id = {quote(self.log_id)} AND log_partition = {int(self.partition)} "
            f"AND log_position >= {int(self.first)} AND log_position < {int(self.end)}"
        )


class Bounds(msgspec.Struct, frozen=True):
    """The lowest and the highest position held of a partition."""

    log_id: str
    partition: int
    lowest: int
    highest: int


class Window(msgspec.Struct, frozen=True):
    """How many rows a window's positions have or had, and how many positions have or had any."""

    log_id: str
    partition: int
    number: int
    rows: int
    positions: int


class Range(msgspec.Struct, frozen=True, order=True):
    """Positions `first` to `last`, both included."""

    first: int
    last: int


class Doubled(msgspec.Struct, frozen=True, order=True):
    """Positions with more than one row: how many each has in which table."""

    first: int
    last: int
    events: int
    rejected: int
    deduplicated: int


class Hour(msgspec.Struct, frozen=True):
    """What became of the records a workspace's collectors received in an hour.

    `hour` is None for what was received earlier than is shown, or has no time. `replayed` were
    rejected and are stored by now: the event counts where it is stored. `expired` were deleted
    as old, all in one line without an hour.
    """

    workspace_id: str
    hour: str | None
    stored: int
    rejected: int
    replayed: int
    deduplicated: int
    expired: int = 0


class LedgerQueries:
    """The questions, to one store. On replicas each is answered by one that lacks nothing."""

    def __init__(self, store: StoreReader, *, replicated: bool = False) -> None:
        self._store = store
        self._settings = _CONSISTENT if replicated else ""

    def bounds(self, since: datetime | None) -> list[Bounds]:
        """Per partition, of all rows, expired ones too, or of those received since then."""
        received = "" if since is None else f" WHERE received >= {_moment(since)}"
        rows = " UNION ALL ".join(
            f"SELECT log_id, log_partition, log_position, {time} AS received FROM {table}"
            for table, time in zip(_TABLES, _TIMES, strict=True)
        )
        if since is None:
            for outermost in ("bitmapMin", "bitmapMax"):
                rows += (
                    " UNION ALL SELECT log_id, log_partition, "
                    f"million * {WINDOW} + {outermost}(groupBitmapMergeState(positions)), NULL "
                    f"FROM {_EXPIRED} GROUP BY log_id, log_partition, million"
                )
        return self._store.rows(
            "SELECT log_id, log_partition AS partition, min(log_position) AS lowest, "
            f"max(log_position) AS highest FROM ({rows}){received} "
            f"GROUP BY log_id, log_partition ORDER BY log_id, log_partition{self._settings}",
            Bounds,
        )

    def windows(self, spans: Sequence[Span]) -> list[Window]:
        """Every window of the spans in which there is or was a row, in order."""
        if not spans:
            return []
        rows = _union("log_id, log_partition, log_position", _any_of(spans))
        return self._store.rows(
            "SELECT log_id, log_partition AS partition, number, "
            "sum(held) + groupBitmapMerge(bits) - groupBitmapMergeIf(bits, is_held) AS rows, "
            f"groupBitmapMerge(bits) AS positions FROM ({_bits(_PLACE, rows, spans)}) "
            "GROUP BY log_id, log_partition, number ORDER BY log_id, log_partition, number"
            f"{self._settings}",
            Window,
        )

    def missing(self, span: Span) -> list[Range]:
        """Ranges of a span, within one window, that no table holds; at most `MOST_RANGES`."""
        rows = _union("log_position", span.sql)
        rows += (
            f" UNION ALL SELECT number * {WINDOW} + arrayJoin(bitmapToArray(bits)) "
            f"FROM ({_expired_bits(_PLACE, [span])})"
        )
        return self._store.rows(
            "SELECT expected AS first, log_position - 1 AS last FROM ("
            "SELECT log_position, lagInFrame(log_position + 1, 1, toUInt64({first:UInt64})) "
            "OVER (ORDER BY log_position ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS expected "
            f"FROM (SELECT DISTINCT log_position FROM ({rows}) "
            "UNION ALL SELECT toUInt64({end:UInt64}))) "
            f"WHERE log_position > expected ORDER BY first LIMIT {MOST_RANGES}{self._settings}",
            Range,
            first=str(span.first),
            end=str(span.end),
        )

    def doubled(self, span: Span) -> list[Doubled]:
        """Ranges of a span that have several rows, in the same tables; at most `MOST_RANGES`."""
        rows = " UNION ALL ".join(
            f"SELECT log_position, {number} AS place FROM {table} WHERE {span.sql}"
            for number, table in enumerate(_TABLES)
        )
        return self._store.rows(
            "SELECT min(log_position) AS first, max(log_position) AS last, events, rejected, "
            "deduplicated FROM (SELECT *, log_position - row_number() OVER "
            "(PARTITION BY events, rejected, deduplicated ORDER BY log_position) AS island FROM ("
            "SELECT log_position, countIf(place = 0) AS events, countIf(place = 1) AS rejected, "
            f"countIf(place = 2) AS deduplicated FROM ({rows}) "
            "GROUP BY log_position HAVING count() > 1)) "
            "GROUP BY events, rejected, deduplicated, island "
            f"ORDER BY first LIMIT {MOST_RANGES}{self._settings}",
            Doubled,
        )

    def hours(self, spans: Sequence[Span], shown_since: datetime) -> list[Hour]:
        """By workspace and hour of receipt; for duplicates, of when they were found to be."""
        if not spans:
            return []
        within, since = _any_of(spans), _moment(shown_since)
        key = f"workspace_id, {_PLACE}"
        expired = (
            "SELECT workspace_id, groupBitmapMerge(bits) - groupBitmapMergeIf(bits, is_held) "
            f"AS expired FROM ({_bits(key, _still_there(), spans)}) "
            f"GROUP BY {key}, number HAVING expired > 0"
        )
        rows = (
            f"SELECT workspace_id, {_hour('received_at', since)} AS hour, 1 AS stored, "
            "0 AS rejected, 0 AS replayed, 0 AS deduplicated, 0 AS expired "
            f"FROM events_rows WHERE {within} "
            f"UNION ALL SELECT workspace_id, {_hour('received_at', since)}, 0, "
            f"NOT replayed, replayed, 0, 0 FROM rejected_events WHERE {within} "
            f"UNION ALL SELECT workspace_id, {_hour('deduplicated_at', since)}, 0, 0, 0, 1, 0 "
            f"FROM deduplicated_events_rows FINAL WHERE {within} "
            f"UNION ALL SELECT workspace_id, NULL, 0, 0, 0, 0, expired FROM ({expired})"
        )
        return self._store.rows(
            "SELECT workspace_id, if(isNull(hour), NULL, formatDateTime(assumeNotNull(hour), "
            "'%Y-%m-%d %H:00', 'UTC')) AS hour, sum(stored) AS stored, sum(rejected) AS rejected, "
            "sum(replayed) AS replayed, sum(deduplicated) AS deduplicated, "
            f"sum(expired) AS expired FROM ({rows}) "
            "GROUP BY workspace_id, hour ORDER BY hour NULLS FIRST, workspace_id"
            f"{self._settings}",
            Hour,
        )


def _bits(key: str, rows: str, spans: Sequence[Span]) -> str:
    """By key, a bit for each position: of rows held, and of those expired, within the spans."""
    held = (
        f"SELECT {key}, intDiv(log_position, {WINDOW}) AS number, true AS is_held, "
        f"count() AS held, groupBitmapState(toUInt32(log_position % {WINDOW})) AS bits "
        f"FROM ({rows}) GROUP BY {key}, number"
    )
    return f"{held} UNION ALL {_expired_bits(key, spans)}"


def _expired_bits(key: str, spans: Sequence[Span]) -> str:
    listed = ", ".join(
        f"({quote(each.log_id)}, {int(each.partition)}, {int(each.first)}, {int(each.end)})"
        for each in spans
    )
    within = (
        f"toUInt32(greatest(toInt64(any(first)) - toInt64(number) * {WINDOW}, 0)), "
        f"toUInt32(least(toInt64(any(end)) - toInt64(number) * {WINDOW}, {WINDOW}))"
    )
    return (
        f"SELECT {key}, million AS number, false AS is_held, 0 AS held, "
        f"bitmapSubsetInRange(groupBitmapMergeState(positions), {within}) AS bits "
        f"FROM {_EXPIRED} INNER JOIN (SELECT * FROM VALUES('log_id String, "
        f"log_partition UInt32, first UInt64, end UInt64', {listed})) AS spans "
        "USING (log_id, log_partition) "
        f"WHERE million * {WINDOW} < end AND (million + 1) * {WINDOW} > first "
        f"GROUP BY {key}, number"
    )


def _still_there() -> str:
    """Rows beside those that have expired. One of them that is there is not gone: a deletion may
    have been broken off."""
    window = f"log_id, log_partition, intDiv(log_position, {WINDOW})"
    columns = "workspace_id, log_id, log_partition, log_position"
    return _union(columns, f"({window}) IN (SELECT log_id, log_partition, million FROM {_EXPIRED})")


def _union(columns: str, where: str) -> str:
    return " UNION ALL ".join(f"SELECT {columns} FROM {table} WHERE {where}" for table in _TABLES)


def _any_of(spans: Iterable[Span]) -> str:
    # AND binds closer. The embedded server takes no parentheses that are not needed.
    return " OR ".join(span.sql for span in spans)


def _hour(column: str, since: str) -> str:
    return f"if(ifNull({column} >= {since}, false), toStartOfHour(toNullable({column})), NULL)"


def _moment(moment: datetime) -> str:
    return f"toDateTime64('{moment.astimezone(UTC):%F %T.%f}', 6, 'UTC')"
