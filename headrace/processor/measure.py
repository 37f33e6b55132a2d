"""What is counted of a range that was written.

Owns the freshness of events: every event counts, yet of a large block a hundred are looked at,
evenly spread, and each stands for its neighbours.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from headrace.eventlog.port import Record
from headrace.processor.batch import Blocks
from headrace.processor.decode import decode_record
from headrace.processor.ranges import Range
from headrace.runtime.metrics import (
    EVENT_TO_TABLE_SECONDS,
    INSERT_ROWS,
    RECORDS_REJECTED,
    RECORDS_SETTLED,
    SETTLED_AT,
)
from headrace.schemas.records import EventValue, is_replay

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


def count_freshness(range_: Range, events: Sequence[int], now: datetime) -> None:
    """The events at these positions are in the table: how long after their receipt?"""
    spread = events[:: -(-len(events) // _LOOKED_AT) or 1]
    for position in spread:
        record = _at(range_, position)
        value = decode_record(record.value)
        # A replay was received long ago, and is no sign of how fast we are.
        if isinstance(value, EventValue) and not is_replay(record.headers):
            seconds = max(0.0, (now - value.received_at).total_seconds())
            EVENT_TO_TABLE_SECONDS.observe_many(seconds, len(events) / len(spread))


def _at(range_: Range, position: int) -> Record:
    return range_.records[bisect_left(range_.records, position, key=lambda record: record.position)]
