"""Appending on a link that answers as it is told: what brokers do at the worst moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from unittest import mock
from zlib import crc32

import pytest

from headrace.eventlog.kafka import appender as appender_module
from headrace.eventlog.kafka import link as link_module
from headrace.eventlog.kafka.appender import KafkaAppender
from headrace.eventlog.kafka.connection import Topic
from headrace.eventlog.kafka.driver import errors
from headrace.eventlog.kafka.link import Link
from headrace.eventlog.kafka.options import KafkaOptions
from headrace.eventlog.kafka.waiting import GOOD_BATCH_BYTES, Lane, Outgoing
from headrace.eventlog.port import Batch, NewRecord
from headrace.runtime.clock import SystemClock
from headrace.schemas.errors import Overloaded, Unavailable
from tests.eventlog.adapters import append_when_possible

Answers = Mapping[int, BaseException | None]
Produce = Callable[[int, Mapping[int, Outgoing]], Awaitable[Answers]]


class ToldLink(Link):
    """A link whose leaders and answers the test decides; `looks` counts questions for a leader."""

    def __init__(self, options: KafkaOptions, partitions: int, produce: Produce) -> None:
        leaders = dict.fromkeys(range(partitions), 1)
        topic = Topic(b"t" * 16, leaders=leaders, in_sync=leaders, replication=1)
        super().__init__(mock.Mock(options=options), topic, (1, 0), 1024 * 1024)
        self.leaders: dict[int, int | None] = {**leaders}
        self.sent: list[tuple[int, Sequence[int]]] = []
        self.looks = 0
        self._told = produce

    def leader(self, partition: int) -> int | None:
        self.looks += 1
        return self.leaders[partition]

    async def send(self, node: int, lanes: Sequence[Lane]) -> Answers:
        self.sent.append((node, [lane.partition for lane in lanes]))
        return await super().send(node, lanes)

    async def _produce(self, node: int, batches: Mapping[int, Outgoing]) -> Answers:
        return await self._told(node, batches)

    async def look(self) -> str:
        return ""


@asynccontextmanager
async def appending_on(link: ToldLink, options: KafkaOptions) -> AsyncIterator[KafkaAppender]:
    with mock.patch.object(Link, "open", mock.AsyncMock(return_value=link)):
        appender = KafkaAppender.open(options, SystemClock())
        try:
            yield appender
        finally:
            await appender.stop()


def options_of(**options: float) -> KafkaOptions:
    return KafkaOptions(brokers=("nowhere:1",), **options)  # type: ignore[arg-type]  # numbers all


def record_for(partition: int, partitions: int, value: bytes = b"v") -> NewRecord:
    key = next(key for n in range(99) if crc32(key := b"%d" % n) % partitions == partition)
    return NewRecord(key, value)


async def take(_node: int, batches: Mapping[int, Outgoing]) -> Answers:
    return dict.fromkeys(batches)


async def test_a_late_answer_counts_for_the_batch_that_it_is_about() -> None:
    """The leader changes while a batch is on its way: the old leader's yes, when it comes, must
    not be taken for one to the next batch, which nobody has."""
    late, forever = asyncio.Event(), asyncio.Event()
    confirmed: list[bytes] = []

    async def produce(node: int, batches: Mapping[int, Outgoing]) -> Answers:
        (payload,) = [batch.payload for batch in batches.values()]
        if node == 1:
            await late.wait()
        elif b"second" in payload:
            await forever.wait()
        confirmed.append(payload)
        return dict.fromkeys(batches)

    options = options_of(append_seconds=1.0)
    link = ToldLink(options, 1, produce)
    async with appending_on(link, options) as appender:
        first = appender.append(Batch([NewRecord(b"k", b"first")]))
        await asyncio.sleep(0.05)
        link.leaders[0] = 2
        second = appender.append(Batch([NewRecord(b"k", b"second")]))
        await asyncio.sleep(0.05)
        assert link.sent == [(1, [0])], "a second try began while the first was under way"
        late.set()
        await first
        with pytest.raises(Unavailable):
            await second
        assert not any(b"second" in payload for payload in confirmed)


@pytest.mark.parametrize(("before", "requests"), [(2, 2), (3, 1)])
async def test_after_several_appends_those_that_follow_go_together(
    before: int, requests: int
) -> None:
    """One that comes a moment after another, before the loop looks at its timers, waits for it; but
    where few append it goes at once, however many partitions it is for."""

    async def append_now() -> None:
        await appender.append(Batch([record_for(0, 2), record_for(1, 2)]))

    async def append_next() -> None:
        await asyncio.sleep(0)
        await appender.append(Batch([record_for(1, 2)]))

    options = options_of()
    link = ToldLink(options, 2, take)
    async with appending_on(link, options) as appender:
        await append_now()
        await asyncio.gather(*[append_now() for _ in range(before)])
        link.sent.clear()
        await asyncio.gather(append_now(), append_next())
        assert len(link.sent) == requests


async def test_a_good_batch_waits_for_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several appends are on their way, and so much has gathered meanwhile that it goes at once."""
    monkeypatch.setattr(appender_module, "_GATHER_SECONDS", 60.0)
    is_stored = asyncio.Event()

    async def produce(_node: int, batches: Mapping[int, Outgoing]) -> Answers:
        await is_stored.wait()
        return dict.fromkeys(batches)

    options = options_of()
    large = record_for(0, 1, bytes(GOOD_BATCH_BYTES - 1024))
    async with appending_on(ToldLink(options, 1, produce), options) as appender:
        several = [appender.append(Batch([record_for(0, 1)])) for _ in "abc"]
        await asyncio.sleep(0.05)
        more = [appender.append(Batch([large])) for _ in "ab"]
        await asyncio.sleep(0.05)
        is_stored.set()
        async with asyncio.timeout(20):
            await asyncio.gather(*several, *more)


async def test_a_batch_refused_here_and_in_doubt_there_may_be_stored() -> None:
    """One partition refuses, another does not answer: the next try must be marked, whichever of
    the two comes first."""

    async def produce(_node: int, _batches: Mapping[int, Outgoing]) -> Answers:
        return {0: errors.MessageSizeTooLargeError(), 1: errors.RequestTimedOutError()}

    options = options_of()
    async with appending_on(ToldLink(options, 2, produce), options) as appender:
        with pytest.raises(Unavailable):
            await appender.append(Batch([record_for(0, 2), record_for(1, 2)]))


async def test_what_is_stored_after_its_append_gave_up_was_called_doubtful() -> None:
    """A batch that brokers refuse for lack of replicas is sent again, and may pass a moment after
    its caller was answered."""
    has_replicas, stored = asyncio.Event(), asyncio.Event()

    async def produce(_node: int, batches: Mapping[int, Outgoing]) -> Answers:
        if not has_replicas.is_set():
            return {partition: errors.NotEnoughReplicasError() for partition in batches}
        stored.set()
        return dict.fromkeys(batches)

    options = options_of(append_seconds=0.6)
    async with appending_on(ToldLink(options, 1, produce), options) as appender:
        with pytest.raises(Unavailable):
            await appender.append(Batch([record_for(0, 1)]))
        has_replicas.set()
        async with asyncio.timeout(20):
            await stored.wait()


async def test_a_partition_without_leader_takes_no_room_from_the_others() -> None:
    """What its callers have given up is let go, so that records of other partitions pass."""
    options = options_of(append_seconds=1.0, max_waiting_bytes=100_000)
    link = ToldLink(options, 2, take)
    link.leaders[1] = None
    async with appending_on(link, options) as appender:
        in_vain = [appender.append(Batch([record_for(1, 2, b"x" * 9_000)])) for _ in range(10)]
        outcomes = await asyncio.gather(*in_vain, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Overloaded}
        await asyncio.sleep(0.5)
        await appender.append(Batch([record_for(0, 2, b"x" * 50_000)]))


async def test_a_partition_without_leader_is_asked_for_a_few_times_a_second() -> None:
    """However many appends wait for it: each of them wakes, and none sets a timer of its own."""
    options = options_of(append_seconds=20.0)
    link = ToldLink(options, 2, take)
    link.leaders[1] = None
    async with appending_on(link, options) as appender:
        waiting = []
        for _ in range(50):
            waiting.append(appender.append(Batch([record_for(1, 2)])))
            await asyncio.sleep(0.003)
        link.looks, began = 0, time.monotonic()
        await asyncio.sleep(1.5)
        assert 2 <= link.looks <= 16 * (time.monotonic() - began)
        link.leaders[1] = 1
        await asyncio.gather(*waiting)


@pytest.mark.parametrize("turns", range(12))
async def test_stopping_while_the_link_breaks_ends(turns: int) -> None:
    """In whichever turn of the loop: the trouble of one task must not hide that all shall end."""
    refused = asyncio.Event()

    async def produce(_node: int, batches: Mapping[int, Outgoing]) -> Answers:
        await refused.wait()
        return {partition: errors.MessageSizeTooLargeError() for partition in batches}

    options = options_of()
    async with appending_on(ToldLink(options, 1, produce), options) as appender:
        waiting = appender.append(Batch([record_for(0, 1)]))
        await asyncio.sleep(0.05)
        appender._is_writable = False  # so that stopping waits for nobody
        refused.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await appender.stop()
        with pytest.raises((Overloaded, Unavailable)):
            await waiting


async def test_a_batch_that_cannot_be_made_is_told() -> None:
    """Whatever goes wrong with it, nobody waits for ever, and the next one passes."""
    options = options_of()
    async with appending_on(ToldLink(options, 1, take), options) as appender:
        with mock.patch.object(link_module, "encode", side_effect=MemoryError):
            async with asyncio.timeout(5):
                with pytest.raises(Overloaded):
                    await appender.append(Batch([record_for(0, 1)]))
        await append_when_possible(appender, Batch([record_for(0, 1)]))
