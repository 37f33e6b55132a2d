"""Stored events of one workspace, read piece by piece, in order of time.

Owns how the time is cut into pieces: each is one query that stays far below what the store allows
a query (rows, bytes, seconds), whatever the events weigh and however they are spread.
"""
# ruff: noqa: S608 - only sentences of ours are put together; values are parameters

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from headrace.runtime.store_reader import QueryFailed, StoreReader, lines_of
from headrace.schemas.records import END_OF_MOMENTS, FIRST_MOMENT

GOOD_BYTES: Final = 32 * 1024 * 1024
"""Of one piece."""
_FIRST_ROWS: Final = 10_000
_LEAST_ROWS, _MOST_ROWS = 1_000, 1_000_000
_FASTEST_GROWTH: Final = 10
_FORMAT: Final = "JSONCompactEachRow"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ISO: Final = "concat(replaceOne(toString({column}), ' ', 'T'), 'Z')"
_WHERE: Final = (
    "WHERE workspace_id = {workspace:String} "
    "AND timestamp >= fromUnixTimestamp64Micro({first:Int64}, 'UTC') "
    "AND timestamp < fromUnixTimestamp64Micro({end:Int64}, 'UTC')"
)
_COUNT: Final = f"SELECT count() AS count FROM events {_WHERE}"
_SPAN: Final = (
    "SELECT toUnixTimestamp64Micro(min(timestamp)) AS first, "
    f"toUnixTimestamp64Micro(max(timestamp)) AS last, count() AS count FROM events {_WHERE}"
)
_ROWS: Final = (
    "SELECT event_id, event, user_id, anonymous_id, person_id, "
    f"{_ISO.format(column='timestamp')}, {_ISO.format(column='received_at')}, properties_raw "
    f"FROM events {_WHERE} ORDER BY timestamp, event_id"
)


class StoredEvent(msgspec.Struct, array_like=True, gc=False):
    """One row of `events`; no id is the empty string, properties are the client's JSON."""

    event_id: str
    event: str
    user_id: str
    anonymous_id: str
    person_id: str
    timestamp: str
    received_at: str
    properties: str


class Wanted(msgspec.Struct, frozen=True):
    """Which events: a workspace's, from `first` on, before `end`; None is without a bound."""

    workspace_id: str
    first: datetime | None = None
    end: datetime | None = None


class Span(msgspec.Struct, frozen=True):
    """Microseconds since 1970 of the first event and of the last, and how many there are."""

    first: int
    last: int
    count: int


class _Counted(msgspec.Struct, frozen=True):
    count: int


_decode: Final = msgspec.json.Decoder(StoredEvent).decode


class StoredEvents:
    """What is stored of the wanted events. Events that come while they are read may be left out."""

    def __init__(self, store: StoreReader, wanted: Wanted) -> None:
        self._store = store
        self._workspace_id = wanted.workspace_id
        first = _micros(max(wanted.first or FIRST_MOMENT, FIRST_MOMENT))
        end = _micros(min(wanted.end or END_OF_MOMENTS, END_OF_MOMENTS))
        (self.span,) = store.rows(_SPAN, Span, **self._between(first, end))

    def read(self) -> Iterator[StoredEvent]:
        """Every event once, in order of time. Raises `QueryFailed` if the store ends a query."""
        start, end = self.span.first, self.span.last + 1
        good_rows, width = _FIRST_ROWS, end - start
        while self.span.count and start < end:
            stop = min(start + width, end)
            (found,) = self._store.rows(_COUNT, _Counted, **self._between(start, stop))
            if found.count > 2 * good_rows and width > 1:
                width = max(1, (stop - start) * good_rows // found.count)
                continue
            if found.count:
                size = rows = 0
                for line in self._lines(start, stop):
                    size, rows = size + len(line), rows + 1
                    yield _event(line)
                good_rows = max(_LEAST_ROWS, min(GOOD_BYTES * rows // max(size, 1), _MOST_ROWS))
            growth = min(_FASTEST_GROWTH, good_rows / max(found.count, 1))
            start, width = stop, max(1, int(width * growth))

    def _lines(self, start: int, stop: int) -> Iterator[bytes]:
        with self._store.stream(_ROWS, _FORMAT, self._between(start, stop)) as answer:
            yield from lines_of(answer)

    def _between(self, first: int, end: int) -> dict[str, str]:
        return {"workspace": self._workspace_id, "first": str(first), "end": str(end)}


def _event(line: bytes) -> StoredEvent:
    try:
        return _decode(line)
    except msgspec.DecodeError as error:  # a store that fails on its way says so in its answer
        said = line[:500].decode(errors="replace")
        raise QueryFailed(f"the answer broke off: {said}") from error


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
