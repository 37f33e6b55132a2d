"""One collector is cut off from Redis while another is not: a proxy loses what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from headrace.collector.idempotency import First, Replay
from headrace.collector.redis import line
from headrace.collector.redis.gate import RedisGate
from headrace.runtime.clock import SystemClock
from tests.collector.redis.gates import PREFIX, Collectors, again, is_marked, until
from tests.contracts.gates import age
from tests.scenarios.proxy import Proxy
from tests.services.redis import RedisServer

K1, K2, K3 = b"1" * 32, b"2" * 32, b"3" * 32


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def gate(collectors: Collectors) -> RedisGate:
    """A collector that reaches Redis."""
    gate = await collectors.open()
    await collectors.send(gate, b"0" * 32)
    collectors.age()
    return gate


@pytest.fixture
async def far(collectors: Collectors, gate: RedisGate, proxy: Proxy) -> AsyncIterator[RedisGate]:
    """Another one, behind the proxy."""
    url = f"redis://127.0.0.1:{proxy.port}"
    far = await RedisGate.open(url, collectors.log.appender(), SystemClock())
    assert not is_marked(await collectors.send(far, b"f" * 32))
    yield far
    await far.stop()


async def test_a_request_taken_while_cut_off_is_known_before_anything_is_proved(
    collectors: Collectors, gate: RedisGate, far: RedisGate, proxy: Proxy
) -> None:
    """Its retry comes to a collector that was never cut off. At once it is unmarked, which the
    processor's memory of marked requests covers; once the other is heard again it is not."""
    proxy.refuse()
    assert is_marked(await collectors.send(far, K1))
    assert not is_marked(await collectors.send(gate, K2))
    proxy.pass_on()
    await until(far.is_reachable)
    assert isinstance(await collectors.send(gate, K1), Replay), "it told what it had done"
    assert is_marked(await collectors.send(gate, K3))


async def test_who_stays_cut_off_for_a_minute_takes_the_proof(
    collectors: Collectors, gate: RedisGate, far: RedisGate, proxy: Proxy
) -> None:
    """Long before the processor forgets what was marked."""
    proxy.refuse()
    assert is_marked(await collectors.send(far, K1))
    age(collectors.server, PREFIX, 61, silence=True)
    gate._line.drop("to confirm now")
    await again(gate)
    assert is_marked(await collectors.send(gate, K1))


async def test_a_claim_whose_answer_was_lost(
    collectors: Collectors, gate: RedisGate, far: RedisGate, proxy: Proxy
) -> None:
    """Redis did it, and the collector does not know: it goes on, marked, and what came of it
    is told under the same owner, so that nobody waits for the lease."""
    proxy.drop_answers()
    entry, claimed = await collectors.come(far, K1)
    assert is_marked(claimed)
    proxy.pass_on()
    await until(far.is_reachable)
    await collectors.finish(far, entry)
    assert isinstance(await collectors.send(gate, K1), Replay)


async def test_a_request_that_is_refused_alone_leaves_the_key_free(
    collectors: Collectors, gate: RedisGate, far: RedisGate, proxy: Proxy
) -> None:
    """Redis let it in and claimed its key, the collector that heard nothing refused it: who comes
    again is not told that the first still runs."""
    far._limiter.take("narrow", 1, collectors.clock.monotonic())
    proxy.drop_answers()
    entry = await far.enter("narrow", 1, key=K1)
    assert not entry.decision.allowed
    far.leave(entry)
    proxy.pass_on()
    await until(far.is_reachable)
    assert isinstance(await collectors.send(gate, K1), First)


async def test_an_answer_that_was_kept_unknowingly(
    collectors: Collectors, gate: RedisGate, far: RedisGate, proxy: Proxy
) -> None:
    """The second round trip is lost on its way back: the request is answered all the same."""
    entry, claimed = await collectors.come(far, K1)
    assert not is_marked(claimed)
    proxy.drop_answers()
    await collectors.finish(far, entry)
    proxy.pass_on()
    assert isinstance(await collectors.send(gate, K1), Replay)
    await until(far.is_reachable)


async def test_a_slow_redis_is_not_used(
    collectors: Collectors, far: RedisGate, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests do not wait for it, and it is not greeted as long as it is slow."""
    monkeypatch.setattr(line, "TURNS", 5)
    proxy.delay(0.6)
    await far.look("ws", 1)
    assert not far.is_reachable()
    for _ in range(50):
        assert (await far.enter("ws", 1_000)).decision.allowed
    await asyncio.sleep(1)
    assert not far.is_reachable()
    monkeypatch.setattr(line, "TURNS", 300)
    proxy.pass_on()
    await until(far.is_reachable)
