"""The store as the processor sees it: insert blocks once, ask what is held already.

Owns the contract and the row structs; the adapters are `clickhouse.py` (any ClickHouse over
HTTP, the embedded server included) and `memory.py` (the shipped fake). Every adapter passes
`tests/contracts/test_store*.py`.

All methods raise `Unavailable` (no answer; it may have been done), `Overloaded` (memory, disk,
too many parts: not done) or `Refused` (the data cannot be stored as it is; not done).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from headrace.schemas.erased import ErasedIds


class Place(msgspec.Struct, frozen=True, order=True, gc=False):
    """Where a record lies: log, partition, position."""

    log_id: str
    partition: int
    position: int


class EventRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `events`. Absent ids are empty strings; datetimes are UTC, microseconds.

    `user_known` and `anonymous_known` are False for absent ids and for those that stand for
    nobody; `timeliness` is `on_time`, `late` or `future`.
    """

    place: Place
    workspace_id: str
    event_id: str
    event: str
    user_id: str
    anonymous_id: str
    user_known: bool
    anonymous_known: bool
    timestamp: datetime
    received_at: datetime
    timeliness: str
    properties_raw: bytes


class EventColumns(msgspec.Struct, frozen=True, gc=False):
    """Rows of `events` column by column, all of one length: a row each would take a sixth of what
    the processor does for an event. What they hold is told at `EventRow`."""

    workspace_ids: Sequence[str]
    event_ids: Sequence[str]
    events: Sequence[str]
    user_ids: Sequence[str]
    anonymous_ids: Sequence[str]
    user_known: Sequence[bool]
    anonymous_known: Sequence[bool]
    timestamps: Sequence[datetime]
    received_at: Sequence[datetime]
    timeliness: Sequence[str]
    properties_raw: Sequence[bytes]
    log_ids: Sequence[str]
    partitions: Sequence[int]
    positions: Sequence[int]


PackedPart = Any
"""Some rows of a block of events as its store wants them; made by `Store.pack_part`."""


class PackedEvents(msgspec.Struct, frozen=True, gc=False):
    """A block of events as its store takes it; made by `Store.pack_events`."""

    count: int
    content: Any


class RejectedRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `rejected_events`: what could be read of the event, why not, and its bytes.

    `raw` is the record's value as it lies in the log. Where the record could not be read
    `timestamp` is None, and `received_at` is when the log took it (None if that is no time that
    the column holds).
    """

    place: Place
    workspace_id: str
    event_id: str
    event: str
    user_id: str
    anonymous_id: str
    timestamp: datetime | None
    received_at: datetime | None
    properties_raw: bytes
    code: str
    reason: str
    path: str
    schema: str
    raw: bytes


class DuplicateRow(msgspec.Struct, frozen=True, gc=False):
    """A row of `deduplicated_events`: a record whose id is held at `kept` already."""

    place: Place
    workspace_id: str
    event_id: str
    request: str
    kept: Place


class LinkRow(msgspec.Struct, frozen=True, gc=False):
    """An identity link: a stored event named both ids. First by (received_at, source) wins."""

    workspace_id: str
    anonymous_id: str
    user_id: str
    received_at: datetime
    source_event_id: str


class MarkedRequest(msgspec.Struct, frozen=True, gc=False):
    """A request (or replay) whose ids may come again, remembered by the log's own time."""

    log_id: str
    partition: int
    workspace_id: str
    request: str
    appended_at: datetime


class Reason(msgspec.Struct, frozen=True, order=True):
    """Why events were rejected, as far as they have it in common: a path says `[]` for any index
    of an array."""

    code: str
    schema: str
    path: str


class Outcomes(msgspec.Struct, frozen=True):
    """How many records became rows of `events` or `rejected_events`, and the latter by reason."""

    settled: int
    rejected: Mapping[Reason, int]


class Sent(msgspec.Struct):
    """What became of one workspace's events."""

    stored: int = 0
    rejected: int = 0


class Store(Protocol):
    """One object per process; methods may be called concurrently for different partitions."""

    async def held_positions(
        self, log_id: str, partition: int, first: int, last: int
    ) -> Collection[int]:
        """Positions in `[first, last]` that are in any of the three tables already."""
        ...

    async def highest_position(self, log_id: str, partition: int) -> int | None:
        """The highest position of this partition in any of the three tables."""
        ...

    async def find_requests(
        self, requests: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], list[Place]]:
        """`(workspace_id, event_id)` → places in `events`, for all stored events whose id
        starts with one of the `(workspace_id, request)` given."""
        ...

    async def find_rejected_requests(
        self, requests: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], list[Place]]:
        """The same for places in `rejected_events`."""
        ...

    async def remember_requests(self, requests: Sequence[MarkedRequest]) -> None:
        """Idempotent; durable when it returns."""
        ...

    async def remembered_requests(
        self, log_id: str, partition: int, since: datetime
    ) -> Sequence[MarkedRequest]: ...

    async def insert_links(self, rows: Sequence[LinkRow]) -> None:
        """Idempotent: links commute and repeat harmlessly, so they need no token.

        Calls of the same time may share an insert.
        """
        ...

    async def insert_rejected(self, rows: Sequence[RejectedRow], *, token: str) -> None:
        """In one block. A block whose token was seen within the window is dropped silently."""
        ...

    async def insert_duplicates(self, rows: Sequence[DuplicateRow], *, token: str) -> None:
        """In one block, as `insert_rejected`."""
        ...

    def pack_part(self, events: EventColumns) -> PackedPart:
        """Make rows ready to be put into a block. Pure, asks nobody, may run in any thread."""
        ...

    def pack_events(self, parts: Sequence[PackedPart]) -> PackedEvents:
        """Make one block of all parts, in their order, ready to be inserted. As `pack_part`."""
        ...

    async def insert_events(self, events: PackedEvents | Sequence[EventRow], *, token: str) -> None:
        """In one block; all or none; durable when it returns. Token as `insert_rejected`."""
        ...

    async def check_events(self, rows: Sequence[EventRow]) -> None:
        """Raises what `insert_events` would raise for these rows, and stores nothing."""
        ...

    async def erased_ids(self) -> ErasedIds:
        """Of people who were erased, by workspace."""
        ...

    async def delete_old(self, now: datetime) -> int:
        """Delete rows past their workspace's retention; how many there were."""
        ...

    async def delete_beyond(self, most_bytes: int, now: datetime) -> int:
        """If the tables take more, delete what was received first, but nothing of the last hour,
        until they take a tenth less; how many rows there were. Their room comes free later."""
        ...

    async def count_outcomes(self, since: datetime, until: datetime) -> Outcomes:
        """Of all logs' records received in `[since, until)`. A row written twice may count so."""
        ...

    async def count_senders(
        self, reason: Reason, event: str, since: datetime, until: datetime
    ) -> dict[str, Sent]:
        """By workspace: events received in `[since, until)`, stored or rejected for `reason`; of
        this name, unless it is empty."""
        ...

    async def refresh_identities(self) -> None:
        """Make links inserted so far count in `person_id` from now on.

        Whoever inserted them: a refresh that somebody missed is made up for by the next one, and
        by a restart of the store.
        """
        ...

    async def stop(self) -> None: ...
