"""Which traces a range belongs to, and the port through which its write is told to them.

Owns what is told. Who tells it, and whether anybody listens, is the tracer's business
(`runtime/tracing.py`); without one no header is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

import msgspec

from headrace.processor.batch import Blocks
from headrace.processor.ranges import Range
from headrace.schemas.records import Header

MOST_TRACES: Final = 32
"""Of one range: a client that samples every request must not slow the processor down."""


class RangeWritten(msgspec.Struct, frozen=True):
    """A range on its way from the log into the tables, as its traces show it."""

    log_id: str
    partition: int
    first: int
    last: int
    records: int
    stored: int
    rejected: int
    duplicates: int
    tries: int
    began: datetime
    ended: datetime


class RangeTracer(Protocol):
    """Adds to traces. Neither blocks nor raises."""

    def is_sampled(self, traceparent: bytes) -> bool:
        """Whether the trace of this header (W3C Trace Context; any bytes) is recorded."""
        ...

    def note(self, written: RangeWritten, traceparents: Sequence[bytes]) -> None:
        """Add the range to each of these traces, below the request that sent its records."""
        ...


def traces_of(range_: Range, tracer: RangeTracer) -> list[bytes]:
    """The recorded traces that records of the range belong to, the first `MOST_TRACES`."""
    found: dict[bytes, bool] = {}
    kept: list[bytes] = []
    for record in range_.records:
        header = record.headers.get(Header.TRACEPARENT) if record.headers else None
        if header is None or header in found:
            continue
        found[header] = tracer.is_sampled(header)
        if found[header]:
            kept.append(header)
            if len(kept) == MOST_TRACES:
                break
    return kept


def describe(
    range_: Range, blocks: Blocks, tries: int, began: datetime, ended: datetime
) -> RangeWritten:
    return RangeWritten(
        range_.log_id,
        range_.partition,
        range_.first,
        range_.last,
        len(range_.records),
        len(blocks.events),
        len(blocks.rejected),
        len(blocks.duplicates),
        tries,
        began,
        ended,
    )
