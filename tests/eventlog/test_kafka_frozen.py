"""A broker that is frozen or killed under a collector that goes on: answers, memory, recovery."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest

from headrace.eventlog.kafka.appender import KafkaAppender
from headrace.eventlog.kafka.membership import KafkaMembership
from headrace.eventlog.kafka.options import KafkaOptions
from headrace.runtime.clock import SystemClock
from headrace.schemas.errors import Overloaded, Unavailable
from tests.eventlog.adapters import append_when_possible, batch, owned, read_all, until
from tests.eventlog.kafka_log import appending, made, options_for
from tests.services.kafka import KafkaServer

APPEND_SECONDS = 2.0
SLACK_SECONDS = 5.0
"""What the machine may take on top; sixteen clients share this loop."""
ENDS_SECONDS = 30.0
"""A frozen broker says nothing for longer."""
BOUND_BYTES = 8 * 1024 * 1024


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker of this module alone."""
    with KafkaServer(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
async def broker(own_broker: KafkaServer) -> AsyncIterator[KafkaServer]:
    """The same, running in the beginning."""
    if not own_broker.is_ready():
        own_broker.kill()
        await asyncio.to_thread(own_broker.start)
    yield own_broker
    own_broker.thaw()


async def options_of(broker: KafkaServer) -> KafkaOptions:
    return await made(
        options_for(
            broker,
            append_seconds=APPEND_SECONDS,
            answer_seconds=2.0,
            max_waiting_bytes=BOUND_BYTES,
        )
    )


async def values(options: KafkaOptions) -> list[bytes]:
    async with owned(KafkaMembership(options, SystemClock())) as assignment:
        return [record.value for record in await read_all(assignment)]


async def press(appender: KafkaAppender, seconds: float) -> list[BaseException | None]:
    """Sixteen clients that send 64 KiB again and again, and what they were told."""
    told: list[BaseException | None] = []
    deadline = asyncio.get_running_loop().time() + seconds
    payload = bytes(64 * 1024)

    async def client() -> None:
        while asyncio.get_running_loop().time() < deadline:
            try:
                async with asyncio.timeout(APPEND_SECONDS + SLACK_SECONDS):
                    await appender.append(batch(payload))
            except (Overloaded, Unavailable) as error:
                told.append(error)
                await asyncio.sleep(0.01)
            else:
                told.append(None)

    await asyncio.gather(*(client() for _ in range(16)))
    return told


async def test_a_frozen_broker_costs_answers_not_memory(broker: KafkaServer) -> None:
    """Every append answers in time, memory stays flat, and appends pass again by themselves."""
    options = await options_of(broker)
    process = psutil.Process()
    async with appending(options) as appender:
        assert None in await press(appender, 0.5)
        before = process.memory_info().rss
        broker.freeze()
        told = await press(appender, 4 * APPEND_SECONDS)
        assert {type(error) for error in told} >= {Overloaded, Unavailable}
        assert not appender.is_writable()
        assert process.memory_info().rss - before < 8 * BOUND_BYTES
        broker.thaw()

        async def is_writable() -> bool:
            return appender.is_writable()

        await until(is_writable)  # nobody appends: it is probed
        await appender.append(batch(b"after"))
    assert (await values(options))[-1] == b"after"


async def test_what_was_surely_not_stored_is_not(broker: KafkaServer) -> None:
    """`Overloaded` is a promise: of what it was said about nothing turns up later."""
    options = await options_of(broker)
    surely_not: list[bytes] = []
    async with appending(options) as appender:
        broker.freeze()

        async def send(number: int) -> None:
            await asyncio.sleep(number / 50)
            try:
                await appender.append(batch(b"%d" % number))
            except Overloaded:
                surely_not.append(b"%d" % number)
            except Unavailable:
                pass

        await asyncio.gather(*(send(number) for number in range(300)))
        broker.thaw()
        await append_when_possible(appender, batch(b"after"))
    found = await values(options)
    assert surely_not
    assert set(found) & set(surely_not) == set()
    assert len(found) == len(set(found))


async def test_stopping_with_a_frozen_broker_takes_seconds(broker: KafkaServer) -> None:
    """Whatever is on its way, the collector's end does not wait for the broker."""
    options = await options_of(broker)
    appender = KafkaAppender.open(options, SystemClock())
    await append_when_possible(appender, batch(b"before"))
    broker.freeze()
    waiting = appender.append(batch(b"on its way"))
    await asyncio.sleep(0.1)
    async with asyncio.timeout(ENDS_SECONDS):
        await appender.stop()
    with pytest.raises(Unavailable):
        await waiting


async def test_a_membership_ends_with_a_frozen_broker(broker: KafkaServer) -> None:
    """`stop` waits for the workers, not for the broker."""
    options = await options_of(broker)
    membership = KafkaMembership(options, SystemClock())
    assignment = await anext(aiter(membership.assignments()))
    broker.freeze()
    stopping = asyncio.create_task(membership.stop())
    await assignment.revoked.wait()
    with pytest.raises(Unavailable):
        await assignment.ends()
    await assignment.release()
    async with asyncio.timeout(ENDS_SECONDS):
        await stopping


async def test_a_killed_broker_that_returns_is_found_again(broker: KafkaServer) -> None:
    """`kill -9` of the only broker: refusals meanwhile, nothing twice, and both sides go on."""
    options = await options_of(broker)
    membership = KafkaMembership(options, SystemClock())
    assignment = await anext(aiter(membership.assignments()))
    async with appending(options) as appender:
        await appender.append(batch(b"before"))
        broker.kill()
        with pytest.raises((Overloaded, Unavailable)):
            await appender.append(batch(b"into the void"))
        await asyncio.to_thread(broker.start)
        await append_when_possible(appender, batch(b"after"))
        await append_when_possible(appender, batch(b"and on"))
        found: list[bytes] = []
        while b"and on" not in found:
            with contextlib.suppress(Unavailable):
                found = [record.value for record in await read_all(assignment)]
        assert found[0] == b"before"
        assert found[-2:] == [b"after", b"and on"]
        assert len(found) == len(set(found))
    stopping = asyncio.create_task(membership.stop())
    await assignment.release()
    await stopping
