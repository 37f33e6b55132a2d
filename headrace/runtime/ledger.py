"""The ledger: every record that was appended is stored, rejected, deduplicated or in flight.

Owns the sum and what is wrong with it. It is made of positions: the log says which were given out
and how far they are settled (`LogEnds`), the rows say which are held; every settled position must
be held once. What is not settled is in flight, whether or not it is held already, so that
records that move while the ledger is read are counted on neither side twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final

import msgspec

from headrace.runtime.ledger_queries import (
    MOST_RANGES,
    WINDOW,
    Bounds,
    Doubled,
    Hour,
    LedgerQueries,
    Range,
    Span,
    Window,
)

_MOST_WINDOWS: Final = 20
"""Of a partition so many windows that are not whole are looked into."""

Key = tuple[str, int]


class LogEnds(msgspec.Struct, frozen=True, kw_only=True):
    """What the log says of a partition.

    `first` is the position its first record ever had, `earliest` the first it still keeps,
    `committed` the first that is not settled (None if nobody ever committed), `end` the one the
    next record will get.
    """

    log_id: str
    partition: int
    first: int
    earliest: int
    committed: int | None
    end: int


ReadEnds = Callable[[], Sequence[LogEnds]]


class PartitionLedger(msgspec.Struct, frozen=True, kw_only=True):
    """One partition: positions `[first, settled_to)` must be held once, `[settled_to, end)` are
    in flight. `lost` are missing ranges that the log no longer keeps.

    `is_known` is False for a log whose ends are not known here: its rows alone are looked at.
    """

    log_id: str
    partition: int
    is_known: bool
    first: int
    settled_to: int
    end: int
    rows: int
    positions: int
    missing: Sequence[Range] = ()
    lost: Sequence[Range] = ()
    doubled: Sequence[Doubled] = ()
    beyond: Range | None = None

    @property
    def in_flight(self) -> int:
        return self.end - self.settled_to

    @property
    def missing_count(self) -> int:
        """Exact, also where not every range is named."""
        return self.settled_to - self.first - self.positions

    @property
    def surplus(self) -> int:
        """Rows that stand for a position which has a row already."""
        return self.rows - self.positions

    @property
    def unnamed_count(self) -> int:
        """Missing positions that no range names."""
        named = (each.last - each.first + 1 for each in (*self.missing, *self.lost))
        return self.missing_count - sum(named)

    @property
    def is_whole(self) -> bool:
        return not self.missing_count and not self.surplus and self.beyond is None


class Ledger(msgspec.Struct, frozen=True):
    """All of it; `hours` add up to the rows of the partitions."""

    partitions: Sequence[PartitionLedger]
    hours: Sequence[Hour]

    @property
    def appended(self) -> int:
        return sum(each.end - each.first for each in self.partitions)

    @property
    def in_flight(self) -> int:
        return sum(each.in_flight for each in self.partitions)

    @property
    def settled(self) -> int:
        """Rows of all hours."""
        return sum(settled(hour) for hour in self.hours)

    @property
    def is_equal(self) -> bool:
        adds_up = self.appended == self.settled + self.in_flight
        return adds_up and all(each.is_whole for each in self.partitions)


def settled(hour: Hour) -> int:
    """Records of one line of the ledger."""
    return hour.stored + hour.rejected + hour.replayed + hour.deduplicated + hour.expired


def read_ledger(
    queries: LedgerQueries,
    read_ends: ReadEnds,
    *,
    shown_since: datetime,
    since: datetime | None = None,
) -> Ledger:
    """Compare the log's positions with those of the rows.

    With `since` each partition counts from the first row received since then; without it from
    its first record. What was received before `shown_since` is one line.
    """
    before = read_ends()
    bounds = queries.bounds(since)
    spans = _spans(before, bounds, since)
    windows = _by_partition(queries.windows(list(spans.values())))
    # Read again: records may have been appended and settled since.
    ends = {(each.log_id, each.partition): each.end for each in read_ends()}
    highest = {(each.log_id, each.partition): each.highest for each in bounds}
    known = {(each.log_id, each.partition): each for each in before}
    partitions = [
        _partition(
            queries,
            span,
            known.get(key),
            windows.get(key, []),
            _beyond(ends.get(key), highest.get(key)),
        )
        for key, span in spans.items()
    ]
    return Ledger(partitions, queries.hours(list(spans.values()), shown_since))


def _spans(
    ends: Sequence[LogEnds], bounds: Sequence[Bounds], since: datetime | None
) -> Mapping[Key, Span]:
    """What must be held once, of every partition that log or rows know."""
    held = {(each.log_id, each.partition): each for each in bounds}
    spans = {
        key: Span(*key, each.lowest, each.highest + 1) for key, each in held.items()
    }  # of logs that are not here: as far as there are rows
    for each in ends:
        key = (each.log_id, each.partition)
        rows = held.get(key)
        end = _settled_to(each, rows)
        first = each.first if since is None else rows.lowest if rows else end
        spans[key] = Span(*key, min(first, end), end)
    return dict(sorted(spans.items()))


def _settled_to(ends: LogEnds, rows: Bounds | None) -> int:
    """Up to where nothing is in flight: committed, or gone from the log."""
    committed = ends.committed
    if committed is None:  # lost, or never: the rows say how far it has come
        committed = ends.first if rows is None else min(rows.highest + 1, ends.end)
    return max(committed, ends.earliest)


def _beyond(end: int | None, highest: int | None) -> Range | None:
    """Positions held that the log has not given out: it was cut, or is not the one it was."""
    if end is None or highest is None or highest < end:
        return None
    return Range(end, highest)


def _by_partition(windows: Iterable[Window]) -> Mapping[Key, list[Window]]:
    keyed = groupby(windows, key=lambda window: (window.log_id, window.partition))
    return {key: list(group) for key, group in keyed}


def _partition(
    queries: LedgerQueries,
    span: Span,
    ends: LogEnds | None,
    windows: Sequence[Window],
    beyond: Range | None,
) -> PartitionLedger:
    missing = joined(_missing(queries, span, windows))
    earliest = span.first if ends is None else ends.earliest
    return PartitionLedger(
        log_id=span.log_id,
        partition=span.partition,
        is_known=ends is not None,
        first=span.first,
        settled_to=span.end,
        end=span.end if ends is None else max(ends.end, span.end),
        rows=sum(window.rows for window in windows),
        positions=sum(window.positions for window in windows),
        missing=list(_cut(missing, earliest, None)),
        lost=list(_cut(missing, 0, earliest)),
        doubled=_doubled(queries, span, windows),
        beyond=beyond,
    )


def _missing(queries: LedgerQueries, span: Span, windows: Sequence[Window]) -> Iterator[Range]:
    """Ranges without a row: whole windows need not be asked for."""
    looked = 0
    expected = span.first
    for window in windows:
        part = _part(span, window)
        if part.first > expected:
            yield Range(expected, part.first - 1)
        expected = part.end
        if window.positions < part.end - part.first and looked < _MOST_WINDOWS:
            looked += 1
            yield from queries.missing(part)
    if span.end > expected:
        yield Range(expected, span.end - 1)


def _doubled(queries: LedgerQueries, span: Span, windows: Sequence[Window]) -> list[Doubled]:
    suspects = [window for window in windows if window.rows > window.positions]
    return [
        each for window in suspects[:_MOST_WINDOWS] for each in queries.doubled(_part(span, window))
    ][:MOST_RANGES]


def _part(span: Span, window: Window) -> Span:
    """A window's part of the span."""
    first, end = window.number * WINDOW, (window.number + 1) * WINDOW
    return Span(span.log_id, span.partition, max(span.first, first), min(span.end, end))


def joined(ranges: Iterable[Range]) -> list[Range]:
    """The same positions, ranges that touch made one."""
    found: list[Range] = []
    for each in ranges:
        if found and found[-1].last + 1 == each.first:
            found[-1] = Range(found[-1].first, each.last)
        else:
            found.append(each)
    return found


def _cut(ranges: Iterable[Range], first: int, end: int | None) -> Iterator[Range]:
    """What of the ranges lies in `[first, end)`."""
    for each in ranges:
        last = each.last if end is None else min(each.last, end - 1)
        if last >= max(each.first, first):
            yield Range(max(each.first, first), last)
