"""What a request costs Redis: one round trip without a key, two with one."""

from __future__ import annotations

import redis as driver

from headrace.collector.idempotency import First
from tests.collector.redis.gates import Collectors, is_marked
from tests.services.redis import RedisServer

KEY = b"k" * 32


def scripts_run(server: RedisServer) -> int:
    """How many scripts ran, those left out with which a collector says that it is there."""
    with driver.Redis.from_url(server.url) as client:
        stats = client.info("commandstats")

    def calls(command: str) -> int:
        return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])

    return calls("evalsha") + calls("eval") - calls("zrangebyscore")


async def test_without_a_key_it_is_one(collectors: Collectors) -> None:
    """Whether it may pass or not."""
    gate = await collectors.open()
    before = scripts_run(collectors.server)
    assert (await gate.enter("ws", 1)).decision.allowed
    assert scripts_run(collectors.server) == before + 1
    assert not (await gate.enter("ws", 1)).decision.allowed
    assert scripts_run(collectors.server) == before + 2


async def test_with_a_key_it_is_two(collectors: Collectors) -> None:
    """The first says whether it may pass and whether it is the first, the second keeps."""
    gate = await collectors.open()
    before = scripts_run(collectors.server)
    entry, claimed = await collectors.come(gate, KEY)
    assert isinstance(claimed, First)
    assert scripts_run(collectors.server) == before + 1
    await collectors.finish(gate, entry)
    assert scripts_run(collectors.server) == before + 2


async def test_a_retry_is_one(collectors: Collectors) -> None:
    """The answer comes with the limit."""
    gate = await collectors.open()
    await collectors.send(gate, KEY)
    before = scripts_run(collectors.server)
    await collectors.send(gate, KEY)
    assert scripts_run(collectors.server) == before + 1


async def test_over_the_limit_it_is_one(collectors: Collectors) -> None:
    """Nothing was claimed, so nothing is given back."""
    gate = await collectors.open()
    await gate.enter("ws", 1)
    before = scripts_run(collectors.server)
    entry = await gate.enter("ws", 1, key=KEY)
    gate.leave(entry)
    await gate.look("ws", 1)
    assert scripts_run(collectors.server) == before + 2


async def test_a_key_that_is_given_back_is_not_waited_for(collectors: Collectors) -> None:
    """The next request on the same connection finds it free."""
    gate = await collectors.open()
    before = scripts_run(collectors.server)
    entry, _ = await collectors.come(gate, KEY)
    gate.leave(entry)
    assert is_marked((await collectors.come(gate, KEY))[1])
    assert scripts_run(collectors.server) == before + 3


async def test_a_key_takes_little_and_expires(collectors: Collectors) -> None:
    """Under a kilobyte for a clean batch, for 24 hours."""
    gate = await collectors.open()
    await collectors.send(gate, KEY)
    with driver.Redis.from_url(collectors.server.url) as client:
        name = b"headrace:key:" + KEY
        size = client.memory_usage(name)
        assert isinstance(size, int)
        assert size < 1024
        ttl = client.pttl(name)
        assert isinstance(ttl, int)
        assert 0 < ttl <= 24 * 3600 * 1000
        assert client.pttl("headrace:epoch") == -1
        print("bytes a key", size)
