"""A network to the broker that loses answers, cuts and holds: nothing twice, nothing lost."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest

from headrace.eventlog.kafka.membership import KafkaMembership
from headrace.eventlog.kafka.options import KafkaOptions
from headrace.runtime.clock import SystemClock
from headrace.schemas.errors import Overloaded, Unavailable
from tests.eventlog.adapters import append_when_possible, batch, owned, read_all, until
from tests.eventlog.kafka_log import appending, made, options_for
from tests.scenarios.proxy import Proxy
from tests.services.kafka import KafkaServer

TRIES = 60
"""Of each client at least; on a busy machine more, until so many of all of them have passed:"""
ENOUGH = 100


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, KafkaServer]]:
    """A broker that is reached through a proxy alone."""
    with Proxy() as proxy:
        broker = KafkaServer(tmp_path_factory.mktemp("broker"), through=proxy.port)
        proxy.target_port = broker.port
        with broker:
            yield proxy, broker


@pytest.fixture
async def proxy(proxied: tuple[Proxy, KafkaServer]) -> AsyncIterator[Proxy]:
    """The proxy; passes everything on in the end."""
    yield proxied[0]
    proxied[0].pass_on()


@pytest.fixture
async def options(proxied: tuple[Proxy, KafkaServer]) -> KafkaOptions:
    return await made(options_for(proxied[1], append_seconds=20.0))


async def values(options: KafkaOptions) -> list[bytes]:
    async with owned(KafkaMembership(options, SystemClock())) as assignment:
        return [record.value for record in await read_all(assignment)]


async def test_a_batch_whose_answer_was_lost_is_stored_once(
    proxy: Proxy, options: KafkaOptions
) -> None:
    """It is sent again under its number, and the broker tells that it has it already."""
    async with appending(options) as appender:
        await appender.append(batch(b"before"))
        proxy.drop_answers()
        appending_one = appender.append(batch(b"once"))
        await asyncio.sleep(0.3)
        proxy.pass_on()
        await appending_one
        await appender.append(batch(b"after"))
    assert await values(options) == [b"before", b"once", b"after"]


async def test_a_batch_that_arrives_after_its_append_gave_up_was_called_doubtful(
    proxy: Proxy, options: KafkaOptions
) -> None:
    """The network held it: the caller heard that nobody knows, and it turns up once."""
    async with appending(options, append_seconds=2.0) as appender:
        await appender.append(batch(b"before"))
        proxy.hold()
        with pytest.raises(Unavailable):
            await appender.append(batch(b"late"))
        assert not appender.is_writable()
        proxy.pass_on()
        await append_when_possible(appender, batch(b"after"))
    assert sorted(await values(options)) == [b"after", b"before", b"late"]


async def test_cut_connections_lose_and_double_nothing(proxy: Proxy, options: KafkaOptions) -> None:
    """Success means once, `Overloaded` never, `Unavailable` at most once; under cuts all along."""
    told: dict[bytes, type[Exception] | None] = {}
    chance = random.Random(4)  # a seed, so that a failure can be had again

    async def client(number: int) -> None:
        for count in itertools.count():
            if count >= TRIES and successes() >= ENOUGH:
                return
            value = b"%d %d" % (number, count)
            try:
                await appender.append(batch(value, value + b"!"))
            except (Overloaded, Unavailable) as error:
                told[value] = type(error)
                await asyncio.sleep(0.02)
            else:
                told[value] = None

    def successes() -> int:
        return Counter(told.values())[None]

    async def cut() -> None:
        while True:
            await asyncio.sleep(chance.uniform(0, 0.1))
            await asyncio.to_thread(proxy.cut)

    async with appending(options, append_seconds=2.0) as appender:
        cutting = asyncio.create_task(cut())
        async with asyncio.timeout(300):
            await asyncio.gather(*(client(number) for number in range(8)))
        cutting.cancel()
        await append_when_possible(appender, batch(b"after"))
    found = Counter(await values(options))
    for value, outcome in told.items():
        for stored in (found[value], found[value + b"!"]):
            match outcome:
                case None:
                    assert stored == 1, value
                case kind if kind is Overloaded:
                    assert stored == 0, value
                case _:
                    assert stored <= 1, value


async def test_a_reader_misses_and_doubles_nothing_under_cuts(
    proxy: Proxy, options: KafkaOptions
) -> None:
    """Fetches that broke are repeated from where the reader is."""
    wanted = [b"%04d" % number for number in range(2_000)]
    async with appending(options) as appender:
        for start in range(0, 2_000, 100):
            await appender.append(batch(*wanted[start : start + 100]))
    async with owned(KafkaMembership(options, SystemClock())) as assignment:
        found: list[bytes] = []
        position = 0

        async def is_read() -> bool:
            nonlocal position
            proxy.cut()
            try:
                records = await assignment.read(
                    position, max_records=150, max_bytes=10**6, wait_seconds=0.2
                )
            except Unavailable:
                return False
            found.extend(record.value for record in records)
            position += len(records)
            return len(found) >= 2_000

        await until(is_read)
    assert found == wanted
