"""The store in memory: the shipped fake, with the semantics of the real one and its faults.

Owns nothing durable. Tests read its tables, tell it which rows to refuse, and when to fail
before or after doing what it was asked (`fail`). It passes the contract suite that the real
adapter passes, and `count_links` is the plain statement of the identity rule that the SQL
views are tested against.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec

from headrace.runtime.clock import Clock
from headrace.schemas.erased import ErasedIds
from headrace.schemas.errors import HeadraceError, Refused, Unavailable
from headrace.schemas.event_ids import request_of
from headrace.schemas.reasons import without_indexes
from headrace.store.port import (
    DuplicateRow,
    EventColumns,
    EventRow,
    LinkRow,
    MarkedRequest,
    Outcomes,
    PackedEvents,
    Place,
    Reason,
    RejectedRow,
    Sent,
)

ROW_BYTES: Final = 100
"""What an event is taken to need on the disk that there is not."""
LINKS_PER_USER: Final = 500
"""Of one user's links this many count, the smallest by (received_at, source_event_id)."""
WINDOW: Final = 1_000_000
"""Blocks per table whose tokens are remembered."""

Pair = tuple[str, str, str]
"""workspace_id, anonymous_id, user_id."""


class _Fault(NamedTuple):
    method: str
    when: Literal["before", "after"]
    error: HeadraceError


class MemoryStore:
    """Implements `Store`; `events`, `rejected`, `duplicates` and `links` may be read by tests.

    `refuses` names the rows that the engine would not take; `window` is the number of blocks
    per table whose tokens are remembered.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        window: int = WINDOW,
        links_per_user: int = LINKS_PER_USER,
        refuses: Callable[[EventRow], bool] = lambda _: False,
    ) -> None:
        self.clock = clock
        self.refuses = refuses
        self.is_down = False
        self.calls: list[str] = []
        self.events: list[EventRow] = []
        self.rejected: list[RejectedRow] = []
        self.duplicates: list[DuplicateRow] = []
        self.links: list[LinkRow] = []
        self.excluded: set[Pair] = set()
        self.erased: dict[str, set[str]] = {}
        self.kept_days: dict[str, int] = {}
        self._requests: dict[tuple[str, int, str, str], MarkedRequest] = {}
        self._users: dict[tuple[str, str], str] = {}
        self.links_per_user = links_per_user
        self._tokens = {name: deque[str](maxlen=window) for name in _TABLES}
        self._faults: list[_Fault] = []

    # What tests may do to it

    def fail(
        self,
        method: str,
        when: Literal["before", "after"] = "before",
        *,
        error: HeadraceError | None = None,
        times: int = 1,
    ) -> None:
        """Make the next `times` calls of `method` raise, before or after doing their work.

        A failure `after` is the ambiguous one: the rows are there, the caller does not know.
        """
        error = error or Unavailable(f"the store did not answer {method}")
        self._faults.extend([_Fault(method, when, error)] * times)

    def person_id(self, row: EventRow) -> str:
        """What the view `events` shows, as of the last `refresh_identities`."""
        if row.user_known:
            return row.user_id
        if not row.anonymous_known:
            return ""
        return self._users.get((row.workspace_id, row.anonymous_id), row.anonymous_id)

    def count_identities(self) -> None:
        """Bring `person_id` up to date after a change of `excluded`."""
        winners = count_links(self.links, self.excluded, links_per_user=self.links_per_user)
        self._users = {key: link.user_id for key, link in winners.items()}

    # Store

    async def held_positions(
        self, log_id: str, partition: int, first: int, last: int
    ) -> Collection[int]:
        with _Call(self, "held_positions"):
            return {
                place.position
                for place in self._places(log_id, partition)
                if first <= place.position <= last
            }

    async def highest_position(self, log_id: str, partition: int) -> int | None:
        with _Call(self, "highest_position"):
            return max((place.position for place in self._places(log_id, partition)), default=None)

    async def find_requests(
        self, requests: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], list[Place]]:
        with _Call(self, "find_requests"):
            return _find(self.events, requests)

    async def find_rejected_requests(
        self, requests: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], list[Place]]:
        with _Call(self, "find_rejected_requests"):
            return _find(self.rejected, requests)

    async def remember_requests(self, requests: Sequence[MarkedRequest]) -> None:
        with _Call(self, "remember_requests"):
            for new in requests:
                key = (new.log_id, new.partition, new.workspace_id, new.request)
                old = self._requests.get(key)
                if old is None or old.appended_at < new.appended_at:
                    self._requests[key] = new

    async def remembered_requests(
        self, log_id: str, partition: int, since: datetime
    ) -> Sequence[MarkedRequest]:
        with _Call(self, "remembered_requests"):
            return [
                request
                for request in self._requests.values()
                if (request.log_id, request.partition) == (log_id, partition)
                and request.appended_at >= since
            ]

    async def insert_links(self, rows: Sequence[LinkRow]) -> None:
        with _Call(self, "insert_links"):
            self.links.extend(rows)

    async def insert_rejected(self, rows: Sequence[RejectedRow], *, token: str) -> None:
        with _Call(self, "insert_rejected"):
            if self._is_new("rejected", rows, token):
                self.rejected.extend(rows)

    async def insert_duplicates(self, rows: Sequence[DuplicateRow], *, token: str) -> None:
        with _Call(self, "insert_duplicates"):
            if self._is_new("duplicates", rows, token):
                self.duplicates.extend(rows)

    def pack_part(self, events: EventColumns) -> list[EventRow]:
        places = map(Place, events.log_ids, events.partitions, events.positions)
        columns = list(msgspec.structs.astuple(events))[: -len(_PLACE)]
        return list(map(EventRow, places, *columns))

    def pack_events(self, parts: Sequence[list[EventRow]]) -> PackedEvents:
        rows = [row for part in parts for row in part]
        return PackedEvents(len(rows), rows)

    async def insert_events(self, events: PackedEvents | Sequence[EventRow], *, token: str) -> None:
        rows = events.content if isinstance(events, PackedEvents) else events
        with _Call(self, "insert_events"):
            self._refuse(rows)
            if self._is_new("events", rows, token):
                self.events.extend(rows)

    async def check_events(self, rows: Sequence[EventRow]) -> None:
        with _Call(self, "check_events"):
            self._refuse(rows)

    async def erased_ids(self) -> ErasedIds:
        if self.is_down:
            raise Unavailable("the store is down")
        return dict(self.erased)

    async def delete_old(self, now: datetime) -> int:
        if self.is_down:
            raise Unavailable("the store is down")

        def is_old(workspace_id: str, received_at: datetime | None) -> bool:
            days = self.kept_days.get(workspace_id)
            if days is None or received_at is None:
                return False
            return received_at < now - timedelta(days=days)

        before = len(self.events) + len(self.rejected)
        self.events = [row for row in self.events if not is_old(row.workspace_id, row.received_at)]
        self.rejected = [
            row for row in self.rejected if not is_old(row.workspace_id, row.received_at)
        ]
        return before - len(self.events) - len(self.rejected)

    async def delete_beyond(self, most_bytes: int, now: datetime) -> int:
        """As if each row took `ROW_BYTES`."""
        if self.is_down:
            raise Unavailable("the store is down")
        excess = len(self.events) * ROW_BYTES - most_bytes
        if excess <= 0:
            return 0
        first = sorted(self.events, key=lambda row: row.received_at)
        wanted = -(-(excess + most_bytes // 10) // ROW_BYTES)
        gone = [row for row in first[:wanted] if row.received_at < now - timedelta(hours=1)]
        self.events = [row for row in self.events if row not in gone]
        return len(gone)

    async def count_outcomes(self, since: datetime, until: datetime) -> Outcomes:
        with _Call(self, "count_outcomes"):
            rejected = Counter(map(_reason, _received(self.rejected, since, until)))
            stored = sum(1 for _ in _received(self.events, since, until))
            return Outcomes(stored + rejected.total(), rejected)

    async def count_senders(
        self, reason: Reason, event: str, since: datetime, until: datetime
    ) -> dict[str, Sent]:
        with _Call(self, "count_senders"):
            found: defaultdict[str, Sent] = defaultdict(Sent)
            for row in _received(self.events, since, until):
                if event in ("", row.event):
                    found[row.workspace_id].stored += 1
            for rejected in _received(self.rejected, since, until):
                if event in ("", rejected.event) and _reason(rejected) == reason:
                    found[rejected.workspace_id].rejected += 1
            return dict(found)

    async def refresh_identities(self) -> None:
        with _Call(self, "refresh_identities"):
            self.count_identities()

    async def stop(self) -> None:
        self.calls.append("stop")

    def _places(self, log_id: str, partition: int) -> Iterable[Place]:
        for table in (self.events, self.rejected, self.duplicates):
            for row in table:
                if (row.place.log_id, row.place.partition) == (log_id, partition):
                    yield row.place

    def _is_new(self, table: str, rows: Sequence[object], token: str) -> bool:
        tokens = self._tokens[table]
        if not rows or token in tokens:
            return False
        tokens.append(token)
        return True

    def _refuse(self, rows: Sequence[EventRow]) -> None:
        for row in rows:
            if self.refuses(row):
                raise Refused(f"cannot store the properties of {row.event_id}", code=117)


_TABLES: Final = ("events", "rejected", "duplicates")
_PLACE: Final = ("log_ids", "partitions", "positions")
"""The last of an event's columns, and the first field of its row."""
_Row = TypeVar("_Row", EventRow, RejectedRow)


def _received(rows: Iterable[_Row], since: datetime, until: datetime) -> Iterator[_Row]:
    for row in rows:
        if row.received_at is not None and since <= row.received_at < until:
            yield row


def _reason(row: RejectedRow) -> Reason:
    return Reason(row.code, row.schema, without_indexes(row.path))


class _Call:
    """One call of a method: recorded, and failed on the way in or out if a test said so."""

    def __init__(self, store: MemoryStore, method: str) -> None:
        self._store = store
        self._method = method

    def __enter__(self) -> None:
        self._store.calls.append(self._method)
        if self._store.is_down:
            raise Unavailable("the store is down")
        self._raise_fault("before")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._raise_fault("after")

    def _raise_fault(self, when: str) -> None:
        faults = self._store._faults
        for index, fault in enumerate(faults):
            if (fault.method, fault.when) == (self._method, when):
                raise faults.pop(index).error


def _find(
    rows: Iterable[EventRow | RejectedRow], requests: Collection[tuple[str, str]]
) -> dict[tuple[str, str], list[Place]]:
    wanted = set(requests)
    found: dict[tuple[str, str], set[Place]] = {}
    for row in rows:
        if (row.workspace_id, request_of(row.event_id)) in wanted:
            found.setdefault((row.workspace_id, row.event_id), set()).add(row.place)
    return {name: sorted(places) for name, places in found.items()}


def count_links(
    links: Iterable[LinkRow],
    excluded: Collection[Pair] = (),
    *,
    links_per_user: int = LINKS_PER_USER,
) -> dict[tuple[str, str], LinkRow]:
    """The identity rule: `(workspace_id, anonymous_id)` → the link that counts.

    A pair counts from its first link on. Excluded pairs do not count, nor do a user's pairs
    past the `links_per_user` smallest; of what is left for an anonymous id the first wins.
    """
    pairs: dict[Pair, LinkRow] = {}
    for link in sorted(links, key=_rank):
        pairs.setdefault((link.workspace_id, link.anonymous_id, link.user_id), link)
    used: dict[tuple[str, str], int] = {}
    winners: dict[tuple[str, str], LinkRow] = {}
    for pair, link in pairs.items():
        if pair in excluded:
            continue
        user = (link.workspace_id, link.user_id)
        used[user] = used.get(user, 0) + 1
        if used[user] <= links_per_user:
            winners.setdefault((link.workspace_id, link.anonymous_id), link)
    return winners


def _rank(link: LinkRow) -> tuple[datetime, str, str, str]:
    return (link.received_at, link.source_event_id, link.anonymous_id, link.user_id)
