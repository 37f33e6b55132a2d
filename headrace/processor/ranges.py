"""A range: the consecutive records of one partition that are written and committed together.

Owns how a range is chosen (rows, bytes, time), what the steps add to it, and the tokens its
blocks are inserted under. Why tokens look as they do is told in `settle.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from array import array
from collections.abc import Iterable, Iterator, Sequence, Set
from datetime import datetime
from hashlib import blake2b, sha256
from math import inf
from typing import Final

import msgspec

from headrace.eventlog.port import Assignment, Record
from headrace.runtime.clock import Clock
from headrace.schemas.outcomes import Rejected
from headrace.store.port import EventColumns, LinkRow, PackedEvents, PackedPart, Place

WIDEST: Final = 1_000_000
"""A range never spans more positions than this: the most that can be half written."""
_PIECE: Final = 500
_AT_A_TIME: Final = 256
"""Values joined for the digest: enough to let go of the GIL, and few enough to stay in the
processor's cache. SHA-256 because processors have it: 0.33 µs a record, where BLAKE2 takes 0.58."""
_DIGEST_CHARACTERS: Final = 32


Request = tuple[str, str]
"""workspace_id, and the part of an event id that its whole request shares."""


class Flush(msgspec.Struct, frozen=True):
    """When a range is written, whichever comes first: so many records, so many bytes, or so many
    seconds after the last one was begun. `poll_seconds` is how long to wait for the first record
    before looking whether to stop."""

    rows: int = 50_000
    bytes: int = 32 * 1024 * 1024
    seconds: float = 0.2
    poll_seconds: float = 0.25

    def less(self, rows: int, size: int) -> Flush:
        """What is left of it for a range that has so many records of so many bytes."""
        return msgspec.structs.replace(self, rows=self.rows - rows, bytes=self.bytes - size)

    @property
    def is_used_up(self) -> bool:
        """Whether the range is written without waiting for more."""
        return self.rows <= 0 or self.bytes <= 0


class Fields(msgspec.Struct, frozen=True, gc=False):
    """What the records of a range hold, field by field, in the order of the records; of one that
    could not be read, blanks: no texts, 1970, no properties. Ids that are not there are empty. A
    field by itself is looked through at once: a fifth less for all of `decode` and `identify` than
    event by event."""

    event_ids: Sequence[str]
    workspace_ids: Sequence[str]
    events: Sequence[str]
    timestamps: Sequence[datetime]
    received_at: Sequence[datetime]
    user_ids: Sequence[str]
    anonymous_ids: Sequence[str]
    properties: Sequence[bytes]


class Range(msgspec.Struct, gc=False):
    """Records `[first, last]` and, as the steps run, what became of each of them.

    A step gives a piece what is said to be by it; the whole range has it by `join`.
    """

    log_id: str
    partition: int
    records: list[Record]
    is_repeated: bool = False
    """An earlier owner announced exactly this range and may have written any part of it."""
    size: int = 0
    """Bytes of the values, by `join` alone."""

    values: list[bytes] = msgspec.field(default_factory=list)
    sizes: array[int] = msgspec.field(default_factory=lambda: array("q"))
    """By `decode`: the records' values, and how many bytes each has. To look at all records again,
    thousands later, is 0.1 µs each of waiting for memory."""
    fields: Fields | None = None
    """By `decode`, until `identify`. Whoever wants an event later reads its record again, which
    is rare: kept, they would be most of the memory of a processor."""
    rejected: dict[int, Rejected] = msgspec.field(default_factory=dict)
    """By `decode`, `validate` and, later, the store's refusals: position → why."""
    columns: EventColumns | None = None
    """By `identify`, until `pack`: one row per record, blank where it could not be read."""
    marked: list[tuple[Record, Request]] = msgspec.field(default_factory=list)
    """By `find_marked`."""
    links: dict[int, LinkRow] = msgspec.field(default_factory=dict)
    """By `Links.find`: position → the link that its event makes if it is stored, unless the store
    is known to have it."""
    positions: list[int] = msgspec.field(default_factory=list)
    """By `identify`: of every record."""
    workspace_ids: list[str] = msgspec.field(default_factory=list)
    event_ids: list[str] = msgspec.field(default_factory=list)
    """By `pack`: one per record, empty where it could not be read."""
    parts: list[PackedPart] = msgspec.field(default_factory=list)
    packed: PackedEvents | None = None
    """By `pack`, then by `join`: the events that were not rejected until then."""
    token: str = ""
    """By `number`: what the block of events is inserted under."""
    held: Set[int] | None = None
    """By the first look at the store: positions that earlier owners settled."""

    @property
    def first(self) -> int:
        return self.records[0].position

    @property
    def last(self) -> int:
        return self.records[-1].position

    def place(self, position: int) -> Place:
        return Place(self.log_id, self.partition, position)

    def token_of(self, table: str, positions: Iterable[int]) -> str:
        """The token of a block that holds exactly these positions of the range."""
        digest = blake2b(array("q", positions).tobytes(), digest_size=16).hexdigest()
        return f"{self._name}{table}:{digest}"

    def pieces(self, records: Sequence[Record]) -> Iterator[Range]:
        """The records that follow, in parts small enough to stay in the processor's cache from
        step to step: a sixth of what the steps take. `join` puts together what came of them."""
        for start in range(0, len(records), _PIECE):
            yield Range(self.log_id, self.partition, list(records[start : start + _PIECE]))

    def is_full(self, flush: Flush) -> bool:
        """Whether it is written without waiting for more."""
        return flush.less(len(self.records), self.size).is_used_up

    def join(self, piece: Range) -> None:
        """The next of `pieces`, after its steps."""
        self.records += piece.records
        self.values += piece.values
        self.sizes += piece.sizes
        self.size += sum(piece.sizes)
        self.marked += piece.marked
        self.positions += piece.positions
        self.workspace_ids += piece.workspace_ids
        self.event_ids += piece.event_ids
        self.parts += piece.parts
        self.rejected |= piece.rejected
        self.links |= piece.links

    @property
    def _name(self) -> str:
        return f"{self.log_id}:{self.partition}:{self.first}-{self.last}:"


def number(range_: Range) -> None:
    """A step for the whole range: a token made of what the log holds, not of what it became."""
    digest = sha256()
    digest.update(range_.sizes.tobytes())
    for start in range(0, len(range_.values), _AT_A_TIME):
        digest.update(b"".join(range_.values[start : start + _AT_A_TIME]))
    range_.token = range_._name + digest.hexdigest()[:_DIGEST_CHARACTERS]


async def read_range(
    assignment: Assignment, first: int, flush: Flush, clock: Clock, *, last_began: float = -inf
) -> Sequence[Record]:
    """The records of the next range, `first` being the next position; empty if none came.

    Reads what is there. If the last range was begun (`last_began`, monotonic) less than
    `flush.seconds` ago, it lets others gather until then, but none grow older than that: whoever
    comes alone is written at once, and where many come there are no more ranges for it.
    """
    records = await _read(assignment, first, flush, flush.poll_seconds)
    if not records:
        return []
    left = flush.less(len(records), 0)
    if not left.is_used_up:  # a size is a look at each of them
        left = left.less(0, _size(records))
    if not left.is_used_up:
        age = (clock.now() - records[0].appended_at).total_seconds()
        since = clock.monotonic() - last_began
        await _linger(assignment, flush.seconds - max(age, since, 0.0))
        records += await _read_on(assignment, records[-1].position + 1, left)
    return _narrow(records, records[0].position)


async def read_later(assignment: Assignment, range_: Range, flush: Flush) -> Sequence[Record]:
    """What has come since for a range that is not written yet, as far as it has room."""
    left = flush.less(len(range_.records), range_.size)
    return _narrow(await _read_on(assignment, range_.last + 1, left), range_.first)


async def read_exactly(
    assignment: Assignment, first: int, last: int, flush: Flush
) -> Sequence[Record]:
    """The records `[first, last]` that an earlier owner announced, whatever the flush says."""
    records: list[Record] = []
    while not assignment.revoked.is_set():
        position = records[-1].position + 1 if records else first
        if position > last:
            return records
        more = await _read(assignment, position, flush, flush.poll_seconds)
        records += [record for record in more if record.position <= last]
        if more and more[-1].position >= last:
            return records
    return []


async def _read(
    assignment: Assignment, position: int, flush: Flush, wait_seconds: float
) -> list[Record]:
    return list(
        await assignment.read(
            position, max_records=flush.rows, max_bytes=flush.bytes, wait_seconds=wait_seconds
        )
    )


async def _read_on(assignment: Assignment, position: int, left: Flush) -> list[Record]:
    """What is there from `position` on, as far as there is room left."""
    found: list[Record] = []
    while not left.is_used_up and (more := await _read(assignment, position, left, 0.0)):
        found += more
        position = more[-1].position + 1
        left = left.less(len(more), _size(more))
    return found


async def _linger(assignment: Assignment, seconds: float) -> None:
    if seconds > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(assignment.revoked.wait(), seconds)


def _narrow(records: Sequence[Record], first: int) -> Sequence[Record]:
    """Those that a range from `first` on may hold."""
    if not records or records[-1].position < first + WIDEST:
        return records
    return [record for record in records if record.position < first + WIDEST]


def _size(records: Sequence[Record]) -> int:
    return sum([len(record.value) for record in records])
