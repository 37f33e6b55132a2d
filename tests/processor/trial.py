"""A log, a store and a clock in memory, processors that crash on demand, and the ledger.

Owns what the tests of the processor share: events of every kind, taxonomies that disagree about
one of them, ways to crash or freeze a processor at a fail point, and the check that every
record ended exactly once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

import fastjsonschema
import msgspec
import pytest
import structlog

from headrace.eventlog.memory import MemoryLog, MemoryMembership
from headrace.eventlog.port import Batch, Committed, NewRecord
from headrace.processor.breaker import Breaker
from headrace.processor.failpoints import FailPoint, Point, pass_by
from headrace.processor.patience import Backoff
from headrace.processor.processor import Processor
from headrace.processor.ranges import Flush
from headrace.processor.tracing import RangeTracer
from headrace.runtime.clock import ManualClock
from headrace.schemas.records import MARK_RETRY, EventValue, Header, is_replay
from headrace.schemas.taxonomy import Compiled, Taxonomy
from headrace.store.memory import MemoryStore, count_links
from headrace.store.port import (
    DuplicateRow,
    EventRow,
    LinkRow,
    PackedEvents,
    Place,
    RejectedRow,
)

PATIENCE_SECONDS: Final = 30.0
BACKOFF: Final = Backoff(first_seconds=0.0, longest_seconds=0.001)
POISON: Final = b'{"poison":true}'


def make_taxonomy(price: Mapping[str, Any]) -> Taxonomy:
    """A taxonomy of one event type, `purchase`, with a rule for its price."""
    rules = {"type": "object", "properties": {"price": price}}
    return Taxonomy([Compiled("purchase", "purchase/1", fastjsonschema.compile(rules))])


NORMAL: Final = make_taxonomy({"maximum": 10})
STRICT: Final = make_taxonomy({"maximum": 3})
LOOSE: Final = make_taxonomy({})


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of crashes on purpose: rendering their tracebacks would take the longest."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


class Crash(Exception):
    """What a fail point raises for a process that dies there."""


def crash_at(wanted: Point, nth: int = 1) -> FailPoint:
    """Dies when it passes `wanted` for the nth time."""
    passed = 0

    async def fail_point(point: Point) -> None:
        nonlocal passed
        passed += point is wanted
        if point is wanted and passed == nth:
            raise Crash(point)

    return fail_point


class Freeze:
    """Stops for as long as the test wants when it passes `wanted` for the first time."""

    def __init__(self, wanted: Point | None) -> None:
        self._wanted = wanted
        self.reached = asyncio.Event()
        self.thawed = asyncio.Event()

    async def __call__(self, point: Point) -> None:
        if point is self._wanted:
            self._wanted = None
            self.reached.set()
            await self.thawed.wait()


def event_id(number: int, *, request: int | None = None) -> str:
    """An id; those of one keyed request share all but the last two characters."""
    if request is None:
        return f"evt_{number:026d}"
    return f"evt_k{request:023d}{number:02d}"


class LateStore(MemoryStore):
    """A store whose next insert into `late` stays on its way while its sender dies."""

    late: str = ""
    land: Callable[[], Awaitable[None]] | None = None

    async def insert_events(self, events: PackedEvents | Sequence[EventRow], *, token: str) -> None:
        insert = partial(super().insert_events, events, token=token)
        rows = events.content if isinstance(events, PackedEvents) else events
        is_refused = any(map(self.refuses, rows))
        await (insert() if is_refused else self._send("events", insert))

    async def insert_rejected(self, rows: Sequence[RejectedRow], *, token: str) -> None:
        insert = partial(super().insert_rejected, rows, token=token)
        await self._send("rejected", insert)

    async def insert_duplicates(self, rows: Sequence[DuplicateRow], *, token: str) -> None:
        insert = partial(super().insert_duplicates, rows, token=token)
        await self._send("duplicates", insert)

    async def _send(self, table: str, insert: Callable[[], Awaitable[None]]) -> None:
        if table != self.late:
            return await insert()
        self.late, self.land = "", insert
        raise Crash(f"died while a block for {table} was on its way")


class Trial:
    """One story: what was appended, and what must have become of it."""

    def __init__(self, *, window: int = 1_000_000, partitions: int = 1, rows: int = 6) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog(self.clock, partitions=partitions)
        self.store = LateStore(
            self.clock, window=window, refuses=lambda row: row.properties_raw == POISON
        )
        self.backoff = BACKOFF
        self.breaker: Breaker | None = None
        self.tracer: RangeTracer | None = None
        self.flush = Flush(rows=rows, seconds=0.0, poll_seconds=0.001)
        self.appended: dict[Place, bytes] = {}
        self.replayed: set[Place] = set()
        self._ids = 0

    # what is sent

    def make_event(self, event: str = "click", **fields: Any) -> EventValue:
        """An event of the workspace `ws`, with a new id unless one is given."""
        self._ids += 1
        properties = fields.pop("properties", b"{}")
        defaults: dict[str, Any] = {
            "event_id": event_id(self._ids),
            "workspace_id": "ws",
            "anonymous_id": f"device-{self._ids}",
            "timestamp": self.clock.now(),
            "received_at": self.clock.now() + timedelta(milliseconds=self._ids),
        }
        return EventValue(event=event, properties=msgspec.Raw(properties), **(defaults | fields))

    def purchase(self, price: float, **fields: Any) -> EventValue:
        """An event that a schema judges."""
        return self.make_event("purchase", properties=b'{"price":%d}' % price, **fields)

    def make_request(self, request: int, count: int, **fields: Any) -> list[EventValue]:
        """The events of one keyed request."""
        return [
            self.make_event(event_id=event_id(index, request=request), **fields)
            for index in range(count)
        ]

    async def append(
        self, *events: EventValue | bytes, mark: bytes | None = None, key: bytes = b"k"
    ) -> None:
        """Append one request."""
        values = [e if isinstance(e, bytes) else msgspec.json.encode(e) for e in events]
        headers = {} if mark is None else {Header.MARK: mark}
        await self.log.appender().append(
            Batch([NewRecord(key, value) for value in values], headers)
        )
        for partition in range(len(self.log.partitions)):
            for record in self.log.records(partition):
                place = Place(self.log.log_id, partition, record.position)
                self.appended[place] = record.value
                if is_replay(record.headers):
                    self.replayed.add(place)

    async def append_one_of_each(self) -> None:
        """Twenty records: every outcome, links, retries before and after their first try."""
        await self.append(
            self.make_event(),
            self.purchase(2, user_id="u1", anonymous_id="d1"),
            self.purchase(5, user_id="u2", anonymous_id="d2"),
            self.purchase(20, user_id="u3", anonymous_id="d3"),
        )
        await self.append(
            b"not JSON",
            self.make_event(properties=POISON, user_id="u4", anonymous_id="d4"),
            self.make_event(user_id="u5", anonymous_id="d5"),
        )
        request = self.make_request(1, 3, user_id="u6", anonymous_id="d6")
        await self.append(*request)
        await self.append(*request, mark=MARK_RETRY)
        late = [
            self.purchase(5, event_id=event_id(0, request=2), user_id="u7", anonymous_id="d7"),
            self.purchase(1, event_id=event_id(1, request=2)),
        ]
        await self.append(*late, mark=MARK_RETRY)
        await self.append(*late)
        await self.append(b"")
        await self.append(self.make_event(user_id="u1", anonymous_id="d1"), self.purchase(11))

    # who works on it

    def processor(
        self,
        schemas: Taxonomy = NORMAL,
        fail_point: FailPoint = pass_by,
        *,
        membership: MemoryMembership | None = None,
        store_max_bytes: int | None = None,
    ) -> Processor:
        """A new process on the same log and store."""
        return Processor(
            membership or self.log.membership(),
            self.store,
            schemas,
            self.clock,
            self.flush,
            fail_point=fail_point,
            backoff=self.backoff,
            breaker=self.breaker,
            tracer=self.tracer,
            store_max_bytes=store_max_bytes,
        )

    async def run_until_crash(self, schemas: Taxonomy = NORMAL, *, at: Point, nth: int = 1) -> bool:
        """Work until the crash; False if everything was settled without passing that point."""
        try:
            await self.settle(schemas, crash_at(at, nth))
        except Crash:
            return True
        return False

    async def settle(self, schemas: Taxonomy = NORMAL, fail_point: FailPoint = pass_by) -> None:
        """Work until everything appended is settled; raises what the processor raised."""
        processor = self.processor(schemas, fail_point)
        run = asyncio.create_task(processor.run())
        await until(lambda: self.is_settled() or run.done())
        await finish(run, processor)

    def is_settled(self) -> bool:
        """Whether the end of every partition is committed, with nothing pending."""
        return all(
            partition.committed == Committed(partition.end)
            or (partition.end == 1 and partition.committed is None)
            for partition in self.log.partitions
        )

    # what became of it

    def check(self) -> None:
        """Every record once in one table, ids once in `events`, links from stored events only.

        And what was sent once more has one row, be it stored or rejected.
        """
        places = Counter(
            row.place
            for table in (self.store.events, self.store.rejected, self.store.duplicates)
            for row in table
        )
        assert places == Counter(self.appended.keys())
        ids = Counter((row.workspace_id, row.event_id) for row in self.store.events)
        assert not {name for name, count in ids.items() if count > 1}
        # A replay is rejected again in a row of its own; whatever else comes again adds none.
        rows: Sequence[EventRow | RejectedRow] = (*self.store.events, *self.store.rejected)
        sent = Counter(
            (row.workspace_id, row.event_id)
            for row in rows
            if row.event_id and row.place not in self.replayed
        )
        assert not {name for name, count in sent.items() if count > 1}
        assert {link.source_event_id for link in self.store.links} <= {name[1] for name in ids}
        assert _known(self.store.links) == _known(_links(self.store.events))

    @property
    def stored_ids(self) -> list[str]:
        return [row.event_id for row in self.store.events]

    @property
    def rejected_codes(self) -> list[str]:
        return [row.code for row in self.store.rejected]


def _links(events: Sequence[EventRow]) -> list[Any]:
    return [
        LinkRow(row.workspace_id, row.anonymous_id, row.user_id, row.received_at, row.event_id)
        for row in events
        if row.user_known and row.anonymous_known and row.user_id != row.anonymous_id
    ]


def _known(links: Sequence[Any]) -> dict[Any, Any]:
    """The links that count, by the pair's first source."""
    return {key: (link.user_id, link.source_event_id) for key, link in count_links(links).items()}


async def until(condition: Callable[[], bool]) -> None:
    """Give others their turns until it is so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - a look at each turn is what makes it exact
            await asyncio.sleep(0)


async def finish(run: Awaitable[None], processor: Processor) -> None:
    """Stop a processor and hear how it ended."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        await processor.stop()
        await run
