"""A range's events as one block, ready to be sent before it is their turn. Pure.

Owns which of them are in it: all that no step has rejected. While an earlier range is inserted,
which is most of the time, the store then waits for no columns to be made: a tenth more rows a
second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, compress

import msgspec

from headrace.processor.ranges import Range
from headrace.store.port import EventColumns, Store


def pack_for(store: Store) -> Callable[[Range], None]:
    """The last step for the whole range."""

    def pack(range_: Range) -> None:
        columns = _joined(range_.columns)
        range_.columns = []
        range_.workspace_ids, range_.event_ids = columns.workspace_ids, columns.event_ids
        if range_.rejected:
            kept = [record.position not in range_.rejected for record in range_.records]
            columns = _kept(columns, kept)
        range_.packed = store.pack_events(columns)

    return pack


def _joined(parts: Sequence[EventColumns]) -> EventColumns:
    columns = zip(*map(msgspec.structs.astuple, parts), strict=True)
    return EventColumns(*[list(chain.from_iterable(column)) for column in columns])


def _kept(columns: EventColumns, kept: list[bool]) -> EventColumns:
    return EventColumns(*[list(compress(one, kept)) for one in msgspec.structs.astuple(columns)])
