"""What is counted of a range that was written.

Owns the freshness of events: every event counts, yet of a large block a hundred are looked at,
evenly spread, and each stands for its neighbours.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from headrace.processor.batch import Blocks
from headrace.processor.ranges import Range
from headrace.runtime.metrics import (
    EVENT_TO_TABLE_SECONDS,
    INSERT_ROWS,
    RECORDS_REJECTED,
    RECORDS_SETTLED,
    SETTLED_AT,
)
from headrace.schemas.records import is_replay
from headrace.store.port import EventRow

_LOOKED_AT: Final = 100


def count_settled(range_: Range, blocks: Blocks, now: datetime) -> None:
    """The range is committed: count it by what became of its records."""
    SETTLED_AT.set(now.timestamp())
    INSERT_ROWS.observe(len(range_.records))
    RECORDS_SETTLED.labels("stored").inc(len(blocks.events))
    RECORDS_SETTLED.labels("rejected").inc(len(blocks.rejected))
    RECORDS_SETTLED.labels("duplicate").inc(len(blocks.duplicates))
    for row in blocks.rejected:
        RECORDS_REJECTED.labels(row.code).inc()


def count_freshness(range_: Range, events: Sequence[EventRow], now: datetime) -> None:
    """These events of the range are in the table: how long after their receipt?"""
    spread = events[:: -(-len(events) // _LOOKED_AT) or 1]
    for row in spread:
        if not _is_replay(range_, row.place.position):
            seconds = max(0.0, (now - row.received_at).total_seconds())
            EVENT_TO_TABLE_SECONDS.observe_many(seconds, len(events) / len(spread))


def _is_replay(range_: Range, position: int) -> bool:
    """Received long ago, and no sign of how fast we are."""
    index = bisect_left(range_.records, position, key=lambda record: record.position)
    return is_replay(range_.records[index].headers)
