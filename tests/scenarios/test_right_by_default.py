"""`events` as an analyst reads it, against a plain model, over generated histories.

The real processor writes into the real embedded store; two workspaces share log, tables, devices,
users and the ids of keyed requests, so that what leaks from one into the other shows. The same
histories every time; `EXAMPLES=1000` tries that many new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.collector.records import make_record, record_prefix
from headrace.eventlog.memory import MemoryLog
from headrace.eventlog.port import Batch, Committed
from headrace.processor.failpoints import FailPoint, Point, pass_by
from headrace.processor.processor import Processor
from headrace.processor.ranges import Flush
from headrace.runtime.clock import ManualClock
from headrace.schemas.records import MARK_RETRY, EventValue, Header
from headrace.store import identities
from headrace.store.analysts import create_database, drop_database
from headrace.store.clickhouse import ClickHouseStore
from headrace.store.connection import Connection
from headrace.store.engines import EMBEDDED
from headrace.store.migrate import migrate
from headrace.store.port import EventRow, LinkRow, PackedEvents
from headrace.store.refresh import Identities
from headrace.workspaces.port import Role
from tests.processor.trial import (
    BACKOFF,
    NORMAL,
    PATIENCE_SECONDS,
    Crash,
    crash_at,
    event_id,
    finish,
    quiet,
)
from tests.scenarios.plain_model import Sent, Workspace
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer, store_user

__all__ = ["quiet"]

LINKS_PER_USER: Final = 2
EXAMPLES: Final = int(os.environ.get("EXAMPLES", "0"))
_numbers = itertools.count(1)

# "both" is a device in one event and a user in the next; the rest of the odd ones is nobody.
devices = st.sampled_from(["d0", "d1", "d2", "d3", "both", "null", ""])
users = st.sampled_from(["", "", "u0", "u1", "both", "guest"])
kinds = st.sampled_from(["click", "click", "click", "too dear", "poison"])
events = st.tuples(devices, users, st.integers(0, 30), kinds)
which = st.integers(0, 1)
pairs = (st.sampled_from(["d0", "d1", "d2"]), st.sampled_from(["u0", "u1"]))
steps = st.one_of(
    st.tuples(st.just("send"), which, st.lists(events, min_size=1, max_size=5)),
    st.tuples(st.just("link"), which, *pairs, st.integers(0, 30)),
    st.tuples(st.just("decide"), which, *pairs, st.booleans()),
    st.tuples(st.just("first_try"), which, st.integers(0, 2)),
    st.tuples(st.just("retry"), which, st.integers(0, 2), st.integers(0, 30)),
    st.tuples(st.just("look")),
    st.tuples(st.just("crash"), st.sampled_from(list(Point)), st.integers(1, 2)),
    st.tuples(st.just("lose"), st.booleans()),
    st.tuples(st.just("repeat_write"), st.integers(0, 20)),
    st.tuples(st.just("load_everything")),
)


class RepeatableStore(ClickHouseStore):
    """Remembers its writes, so that any may arrive once more."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.events: list[tuple[PackedEvents | Sequence[EventRow], str]] = []
        self.links: list[Sequence[LinkRow]] = []

    async def insert_events(self, events: PackedEvents | Sequence[EventRow], *, token: str) -> None:
        await super().insert_events(events, token=token)
        self.events.append((events, token))

    async def insert_links(self, rows: Sequence[LinkRow]) -> None:
        await super().insert_links(rows)
        self.links.append(rows)


class Tenant:
    """A workspace: what was said of it, and what its analyst reads."""

    def __init__(self, server: StoreServer, processor: Connection, number: int) -> None:
        self.id = f"ws_{number}"
        self.model = Workspace(LINKS_PER_USER)
        self.first_tries: set[int] = set()
        self._processor = processor
        create_database(processor, self.id)
        user = store_user(f"analyst_of_{self.id}", Role.ANALYST, self.id, self.id)
        server.directory.users[user.name] = user
        self._analyst = Connection(server.url, user.name, PASSWORD, database=self.id)

    def check(self) -> None:
        """Each event once, about the right person; and the links that make it so."""
        rows = self._analyst.rows("SELECT event_id, person_id FROM events")
        expected = self.model.people()
        assert sorted(tuple(row) for row in rows) == sorted(expected.items())
        assert self._analyst.rows("SELECT count() FROM events")[0][0] == len(expected)
        links = self._analyst.rows("SELECT anonymous_id, user_id FROM identity_links")
        assert sorted(tuple(row) for row in links) == sorted(self.model.links().items())

    def close(self) -> None:
        self._analyst.close()
        drop_database(self._processor, self.id)


class History:
    """Takes steps, through a log of its own into the store of all histories."""

    def __init__(
        self, server: StoreServer, processor: Connection, rows: int, partitions: int
    ) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog(self.clock, partitions=partitions)
        self.store = RepeatableStore(processor, processor, "headrace")
        self.tenants = [Tenant(server, processor, next(_numbers)) for _ in range(2)]
        self._processor = processor
        self._flush = Flush(rows=rows, seconds=0.0, poll_seconds=0.001)
        self._ids = itertools.count(1)

    async def take(self, step: tuple[Any, ...]) -> None:
        """One step, by its name."""
        await getattr(self, step[0])(*step[1:])

    # What clients send

    async def send(self, tenant: int, sent: list[tuple[str, str, int, str]]) -> None:
        """New events; their ids grow, their receipts do not (there are several collectors)."""
        await self._append(tenant, [(event_id(next(self._ids)), *each) for each in sent])

    async def link(self, tenant: int, device: str, user: str, received: int) -> None:
        """The device is seen before, with and after its user."""
        who = [("", received), (user, received + 1), ("", received + 2)]
        await self.send(tenant, [(device, user, at, "click") for user, at in who])

    async def first_try(self, tenant: int, number: int) -> None:
        """Unmarked, and so at most once; it may come after its retries."""
        tries = self.tenants[tenant].first_tries
        if number not in tries:
            tries.add(number)
            await self._append(tenant, self._request(number, received=number))

    async def retry(self, tenant: int, number: int, received: int) -> None:
        """The same request again, received anew."""
        await self._append(tenant, self._request(number, received), mark=MARK_RETRY)

    def _request(self, number: int, received: int) -> list[tuple[str, str, str, int, str]]:
        ids = [event_id(index, request=number) for index in range(3)]
        return [
            (ids[0], f"d{number}", "u0", received, "click"),
            (ids[1], f"d{number}", "", received, "click"),
            (ids[2], "d3", "u1", received, "too dear"),
        ]

    async def _append(
        self, to: int, sent: list[tuple[str, str, str, int, str]], mark: bytes | None = None
    ) -> None:
        tenant = self.tenants[to]
        records = []
        for id_, device, user, received, kind in sent:
            if not (device or user):
                continue  # the collector takes no event about nothing
            value = EventValue(
                event_id=id_,
                workspace_id=tenant.id,
                event="purchase" if kind == "too dear" else "click",
                timestamp=self.clock.now(),
                received_at=self.clock.now() + timedelta(seconds=received),
                user_id=user or None,
                anonymous_id=device or None,
                properties=msgspec.Raw(b'{"price":%s}' % _PRICES[kind]),
            )
            records.append(make_record(value, record_prefix(tenant.id)))
            tenant.model.take(Sent(id_, device, user, received, kind == "click"))
        headers = {Header.MARK: mark} if mark else {}
        await self.log.appender().append(Batch(records, headers))

    # What people decide

    async def decide(self, to: int, device: str, user: str, is_out: bool) -> None:
        """Unlink a pair, or let it count again."""
        tenant = self.tenants[to]
        (tenant.model.excluded.add if is_out else tenant.model.excluded.discard)((device, user))
        change = identities.unlink if is_out else identities.link_again
        change(self._processor, workspace_id=tenant.id, anonymous_id=device, user_id=user)
        if self._is_settled():
            self._check()

    # What happens to the processor and its writes

    async def look(self) -> None:
        """A processor settles what there is, and analysts look."""
        await self._work(pass_by)
        self._check()

    async def crash(self, point: Point, nth: int) -> None:
        """A processor dies, or settles everything without passing that point."""
        with contextlib.suppress(Crash):
            await self._work(crash_at(point, nth))

    async def lose(self, everything: bool) -> None:
        """Commits are gone, or those of long ago are back: the log is read once more."""
        for partition in self.log.partitions:
            partition.committed = None if everything else Committed(1)

    async def repeat_write(self, number: int) -> None:
        """A write that was answered arrives once more."""
        if number < len(self.store.events):
            events, token = self.store.events[number]
            await ClickHouseStore.insert_events(self.store, events, token=token)
        if number < len(self.store.links):
            await ClickHouseStore.insert_links(self.store, self.store.links[number])

    async def load_everything(self) -> None:
        """As beside the work when what changed lately has grown."""
        await Identities(self._processor, "headrace", asyncio.to_thread).load_all()
        await asyncio.to_thread(
            self._processor.run,
            "INSERT INTO headrace.identity_loads_rows SELECT hostName(), now64(6) + 15",
        )

    async def _work(self, fail_point: FailPoint) -> None:
        processor = Processor(
            self.log.membership(),
            self.store,
            NORMAL,
            self.clock,
            self._flush,
            fail_point=fail_point,
            backoff=BACKOFF,
        )
        run = asyncio.create_task(processor.run())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (self._is_settled() or run.done()):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.002)
        await finish(run, processor)

    def _is_settled(self) -> bool:
        return all(
            partition.end == 1 or partition.committed == Committed(partition.end)
            for partition in self.log.partitions
        )

    def _check(self) -> None:
        for tenant in self.tenants:
            tenant.check()

    async def end(self) -> None:
        """Settle, look, take a link back and let it count, and read the log from its beginning."""
        try:
            for number in range(2):
                await self.send(number, [("both", "both", 0, "click")])
                await self.link(number, "both", f"u{number}", 31)
                await self.retry(1 - number, 0, 40)
            await self.look()
            counting = self.tenants[0].model.links()
            for device, user in sorted(counting.items())[:1]:
                await self.decide(0, device, user, True)
                await self.decide(0, device, user, False)
            await self.lose(everything=True)
            await self.look()
        finally:
            await self.store._identities.stop()
            self.store._threads.shutdown()
            for tenant in self.tenants:
                tenant.close()


_PRICES: Final = {"click": b"1", "too dear": b"11", "poison": b"1e999"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """One store for all histories; few links of a user count, so that the limit is met."""
    with StoreServer(tmp_path_factory.mktemp("store")) as running:
        engines = msgspec.structs.replace(EMBEDDED, links_per_user=LINKS_PER_USER)
        migrate(running.url, PROCESSOR, PASSWORD, engines=engines)
        yield running


@pytest.fixture(scope="module")
def processor(server: StoreServer) -> Iterator[Connection]:
    connection = Connection(server.url, PROCESSOR, PASSWORD, database="headrace")
    yield connection
    connection.close()


@settings(
    max_examples=EXAMPLES or 10,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),  # fixtures hold for all; a store is slow to Hypothesis
)
@given(
    history=st.lists(steps, min_size=4, max_size=20),
    rows=st.sampled_from([2, 5, 100]),
    partitions=st.sampled_from([1, 3]),
)
def test_analysts_read_what_the_model_says(
    server: StoreServer,
    processor: Connection,
    history: list[tuple[Any, ...]],
    rows: int,
    partitions: int,
) -> None:
    """Any mixture of events, links, unlinks, retries, crashes, replays and repeated writes."""

    async def tell() -> None:
        told = History(server, processor, rows, partitions)
        try:
            for step in history:
                await told.take(step)
        finally:
            await told.end()

    asyncio.run(tell())
