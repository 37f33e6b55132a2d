"""Redis flushed, stopped, frozen, killed, and collectors that go on without it: what is marked."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import redis as driver

from headrace.collector.idempotency import Replay, Running
from headrace.collector.redis.gate import RedisGate
from headrace.schemas.errors import Unavailable
from tests.collector.redis.gates import Collectors, again, is_marked, until
from tests.services.redis import RedisServer

K1, K2, K3 = b"1" * 32, b"2" * 32, b"3" * 32


@pytest.fixture
async def gate(collectors: Collectors) -> RedisGate:
    """A collector whose Redis has kept keys for over a day."""
    gate = await collectors.open()
    assert is_marked(await collectors.send(gate, b"0" * 32))
    collectors.age()
    return gate


async def test_flushed_between_two_tries(collectors: Collectors, gate: RedisGate) -> None:
    """Nothing is proved then for a day, neither this key nor any other."""
    assert not is_marked(await collectors.send(gate, K1))
    collectors.server.say("FLUSHALL")
    assert is_marked(await collectors.send(gate, K1))
    assert isinstance(await collectors.send(gate, K1), Replay)
    collectors.age(24 * 3600 - 60)
    assert is_marked(await collectors.send(gate, K2))
    collectors.age(60)
    assert not is_marked(await collectors.send(gate, K3))


async def test_flushed_between_claim_and_append(collectors: Collectors, gate: RedisGate) -> None:
    """The one that runs keeps its answer all the same; who comes meanwhile is marked."""
    entry, claimed = await collectors.come(gate, K1)
    assert not is_marked(claimed)
    collectors.server.say("FLUSHALL")
    assert is_marked(await collectors.send(gate, K1))
    await collectors.finish(gate, entry)
    assert isinstance(await collectors.send(gate, K1), Replay)


async def test_forgotten_scripts_are_told_again(collectors: Collectors, gate: RedisGate) -> None:
    """`SCRIPT FLUSH` costs a round trip, no mark."""
    collectors.server.say("SCRIPT", "FLUSH")
    assert not is_marked(await collectors.send(gate, K1))
    assert isinstance(await collectors.send(gate, K1), Replay)
    assert gate.is_reachable()


async def test_another_server_behind_the_same_connection(
    collectors: Collectors, gate: RedisGate
) -> None:
    """A proxy may exchange it; it does not know our scripts, and is asked who it is first."""
    gate._run = b"the run of the one before"
    assert is_marked(await collectors.send(gate, K1))
    collectors.server.say("SCRIPT", "FLUSH")
    await collectors.send(gate, K2)
    assert gate._run != b"the run of the one before"
    assert is_marked(await collectors.send(gate, K3))


async def test_restarted_without_its_file(collectors: Collectors, gate: RedisGate) -> None:
    """As if it had been flushed."""
    assert not is_marked(await collectors.send(gate, K1))
    collectors.server.kill()
    collectors.server.lose_file()
    collectors.server.start()
    await again(gate)
    assert is_marked(await collectors.send(gate, K1))
    assert is_marked(await collectors.send(gate, K2))


async def test_restarted_with_its_file(collectors: Collectors, gate: RedisGate) -> None:
    """What it still has counts, but it may lack the last moments: new keys are marked."""
    assert not is_marked(await collectors.send(gate, K1))
    collectors.server.kill()
    collectors.server.start()
    await again(gate)
    assert isinstance(await collectors.send(gate, K1), Replay)
    assert is_marked(await collectors.send(gate, K2))


async def test_killed_between_claim_and_answer(collectors: Collectors, gate: RedisGate) -> None:
    """What came of the request is told when Redis is back, before anything else is asked."""
    entry, claimed = await collectors.come(gate, K1)
    assert not is_marked(claimed)
    collectors.server.kill()
    await collectors.finish(gate, entry)
    assert not gate.is_reachable()
    collectors.server.start()
    await until(gate.is_reachable)
    assert isinstance(await collectors.send(gate, K1), Replay)


async def test_stopped_for_a_while(collectors: Collectors, gate: RedisGate) -> None:
    """Limits are counted here, keys are marked; afterwards it is used again by itself, and
    what was sent without it is known to it."""
    collectors.server.stop()
    decisions = [(await gate.enter("other", 2)).decision for _ in range(3)]
    assert [each.allowed for each in decisions] == [True, True, False]
    assert not (await gate.look("other", 2)).allowed
    assert is_marked(await collectors.send(gate, K1))
    assert is_marked(await collectors.send(gate, K1))
    assert not gate.is_reachable()
    collectors.server.start()
    await until(gate.is_reachable)
    assert (await gate.enter("other", 2)).decision.allowed
    assert isinstance(await collectors.send(gate, K1), Replay)
    assert is_marked(await collectors.send(gate, K2))


async def test_who_went_on_alone_takes_the_proof_from_all(
    collectors: Collectors, gate: RedisGate
) -> None:
    """A key used while Redis was away is used again at another collector, where nobody
    else knows of it: no key is proved from then on."""
    other = await collectors.open()
    assert not is_marked(await collectors.send(other, K2))
    collectors.server.freeze()
    assert is_marked(await collectors.send(gate, K1))
    collectors.server.thaw()
    await until(gate.is_reachable)
    await again(other)
    assert is_marked(await collectors.send(other, K3))


async def test_who_only_counted_limits_alone_takes_no_proof(
    collectors: Collectors, gate: RedisGate
) -> None:
    """Nor does a request that was given up before its append."""
    collectors.server.freeze()
    assert (await gate.enter("ws", 1)).decision.allowed
    entry, _ = await collectors.come(gate, K1)
    gate.leave(entry)
    collectors.server.thaw()
    await until(gate.is_reachable)
    assert not is_marked(await collectors.send(gate, K1))


async def test_a_collector_that_died_takes_the_proof_with_it(
    collectors: Collectors, gate: RedisGate
) -> None:
    """It may have gone on alone before it died; after a minute of silence nobody is sure."""
    dead = await collectors.open()
    await dead._line.stop()  # as a process that is killed: not a word
    assert not is_marked(await collectors.send(gate, K1))
    collectors.age(61, silence=True)
    gate._line.drop("to confirm now")
    await until(gate.is_reachable)
    assert is_marked(await collectors.send(gate, K2))


async def test_a_collector_that_took_leave_does_not(
    collectors: Collectors, gate: RedisGate
) -> None:
    """A rolling restart costs no look-ups."""
    other = await collectors.open()
    assert not is_marked(await collectors.send(other, K1))
    await other.stop()
    collectors.age(61, silence=True)
    gate._line.drop("to confirm now")
    await until(gate.is_reachable)
    assert not is_marked(await collectors.send(gate, K2))


async def test_frozen(collectors: Collectors, gate: RedisGate) -> None:
    """Requests go on; no task and no connection is left over for those that went without."""
    await gate.look("ws", 1)
    tasks = len(asyncio.all_tasks())
    collectors.server.freeze()
    entries = await asyncio.gather(*(gate.enter("ws", 1_000, key=K1) for _ in range(200)))
    assert all(entry.decision.allowed for entry in entries)
    assert not gate.is_reachable()
    for _ in range(100):
        await gate.enter("ws", 1_000, key=K1)
    assert len(asyncio.all_tasks()) <= tasks
    collectors.server.thaw()
    await until(gate.is_reachable)
    await until(lambda: clients(collectors.server) <= 2)


def clients(server: RedisServer) -> int:
    """How many connections the server has, this question's among them."""
    with driver.Redis.from_url(server.url) as client:
        return len(client.client_list())


async def test_what_a_frozen_server_finds_when_it_wakes_is_not_done(
    collectors: Collectors, gate: RedisGate
) -> None:
    """A claim that nobody waits for any more would tell others that it runs."""
    other = await collectors.open()
    await other.look("ws", 1)
    collectors.server.freeze()
    await gate.enter("ws", 1_000, key=K1)
    await asyncio.sleep(2.5)
    collectors.server.thaw()
    await again(other)
    entry, claimed = await collectors.come(other, K1)
    assert claimed != Running()
    other.leave(entry)


async def test_a_collector_that_was_busy_itself_finds_its_answer(
    collectors: Collectors, gate: RedisGate
) -> None:
    """A stall of our own is not Redis' fault, and marks nothing."""
    asking = asyncio.create_task(collectors.come(gate, K1))
    for _ in range(3):
        await asyncio.sleep(0)
        time.sleep(0.1)  # noqa: ASYNC251 - the stall this is about
    _, claimed = await asking
    assert not is_marked(claimed)


async def test_a_server_without_room_is_done_without(
    collectors: Collectors, gate: RedisGate
) -> None:
    """With `noeviction` a full server refuses; with room it is used again."""
    collectors.server.say("CONFIG", "SET", "maxmemory", "1")
    assert is_marked(await collectors.send(gate, K1))
    await until(lambda: not gate.is_reachable())
    collectors.server.say("CONFIG", "SET", "maxmemory", "0")
    await until(gate.is_reachable)
    assert isinstance(await collectors.send(gate, K1), Replay)


async def test_a_key_of_another_kind_harms_its_request_alone(
    collectors: Collectors, gate: RedisGate
) -> None:
    """Somebody wrote under our prefix."""
    collectors.server.say("SET", "headrace:window:odd", "1")
    entries = await asyncio.gather(
        gate.enter("odd", 10), *(gate.enter("ws", 1_000, key=bytes([n]) * 32) for n in range(3))
    )
    assert [entry.decision.allowed for entry in entries] == [True] * 4
    assert (await gate.enter("odd", 10)).decision.allowed
    collectors.server.say("LPUSH", "headrace:key:" + K1.decode(), "1")
    assert is_marked(await collectors.send(gate, K1))
    assert gate.is_reachable()


async def test_a_clock_that_jumps_is_measured_anew(collectors: Collectors, gate: RedisGate) -> None:
    """Redis' by ten seconds, as seen from here: keys may have expired by it, so that from
    the request on that met it, with a key or without, nothing is proved."""
    gate._ahead_ms -= 10_000
    assert (await gate.enter("ws", 1_000)).decision.allowed
    assert not gate.is_reachable()
    assert is_marked(await collectors.send(gate, K1))
    await until(gate.is_reachable)
    assert isinstance(await collectors.send(gate, K1), Replay)
    assert is_marked(await collectors.send(gate, K2))


async def test_a_lease_that_ran_out_is_taken_over(collectors: Collectors, gate: RedisGate) -> None:
    """Marked, for the first may still come; whichever is answered first is what is kept."""
    other = await collectors.open()
    slow, _ = await collectors.come(gate, K1)
    assert (await collectors.come(other, K1))[1] == Running()
    collectors.age(61)
    entry, claimed = await collectors.come(other, K1)
    assert is_marked(claimed)
    await collectors.finish(gate, slow)
    assert isinstance((await collectors.come(gate, K1))[1], Replay)
    await collectors.finish(other, entry)
    assert isinstance(await collectors.send(gate, K1), Replay)


async def test_a_take_over_that_is_given_up_stays_uncertain(
    collectors: Collectors, gate: RedisGate
) -> None:
    """The one before may still have been stored."""
    await collectors.come(gate, K1)
    collectors.age(61)
    entry, _ = await collectors.come(gate, K1)
    gate.leave(entry)
    assert is_marked(await collectors.send(gate, K1))


async def test_who_wakes_after_its_lease_is_marked(collectors: Collectors, gate: RedisGate) -> None:
    """A process that was frozen between claim and append cannot be sure of it any more."""
    late = await collectors.open(lease_seconds=0.0)
    assert is_marked((await collectors.come(late, K1))[1])


async def test_an_uncertain_append_is_told_when_redis_is_back(
    collectors: Collectors, gate: RedisGate
) -> None:
    """Log and Redis fail at once."""
    entry, _ = await collectors.come(gate, K1)
    collectors.server.kill()
    collectors.log.fail_appends(Unavailable("no answer"))
    with pytest.raises(Unavailable):
        await collectors.finish(gate, entry)
    collectors.log.fail_appends(None)
    collectors.server.start()
    await again(gate)
    assert is_marked(await collectors.send(gate, K1))


async def test_a_caller_that_hangs_up_frees_its_key(
    collectors: Collectors, gate: RedisGate
) -> None:
    """Also while its claim is on the way."""
    asking = asyncio.create_task(gate.enter("ws", 1_000, key=K1))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert not is_marked(await collectors.send(gate, K1))


async def test_a_failover_keeps_what_was_replicated_and_proves_nothing(
    collectors: Collectors, gate: RedisGate, tmp_path: Path
) -> None:
    """The replica may lack what the primary answered last."""
    root = tmp_path / "replica"
    root.mkdir()
    primary = ["--replicaof", "127.0.0.1", str(collectors.server.port)]
    with RedisServer(root, options=primary) as replica:
        await collectors.send(gate, K1)
        await until(lambda: replica.say("EXISTS", "headrace:key:" + K1.decode()) == ":1")
        there = Collectors(replica)
        follower = await there.open()
        assert not follower.is_reachable(), "a replica takes no writes"
        collectors.server.kill()
        replica.say("REPLICAOF", "NO", "ONE")
        await until(follower.is_reachable)
        assert isinstance(await there.send(follower, K1), Replay)
        assert is_marked(await there.send(follower, K2))
        await there.stop()


async def test_a_collector_starts_without_redis_and_finds_it_later(
    collectors: Collectors,
) -> None:
    """It takes requests from the first moment."""
    collectors.server.stop()
    gate = await collectors.open()
    assert not gate.is_reachable()
    assert is_marked(await collectors.send(gate, K1))
    collectors.server.start()
    await until(gate.is_reachable)


async def test_the_end_does_not_wait_for_a_frozen_server(
    collectors: Collectors, gate: RedisGate
) -> None:
    """It takes leave if it is listened to."""
    collectors.server.freeze()
    async with asyncio.timeout(10):
        await gate.stop()
    collectors.server.thaw()
