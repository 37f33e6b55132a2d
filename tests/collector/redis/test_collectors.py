"""Two whole collectors that share a Redis: what a client sees, and what lies in the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from headrace.collector.redis.gate import RedisGate
from headrace.runtime.clock import SystemClock
from headrace.schemas.errors import Unavailable
from headrace.schemas.records import MARK_RETRY, Header
from tests.collector.redis.gates import PREFIX, again, until
from tests.collector.trial import GOOD, ONE, Trial, problem
from tests.contracts.gates import age
from tests.services.redis import RedisServer

KEY = {"idempotency_key": "key-1"}
MIXED = {"events": [GOOD, 17, GOOD]}
DAY = 24 * 3600


class Pair:
    """Two collectors on one log, one directory and one Redis."""

    def __init__(self, server: RedisServer, gates: list[RedisGate], trials: list[Trial]) -> None:
        self.server = server
        self.gates = gates
        self.one, self.two = trials

    def marks(self) -> list[bytes | None]:
        return [record.headers.get(Header.MARK) for record in self.one.log.records()]


@pytest.fixture
async def pair(server: RedisServer) -> AsyncIterator[Pair]:
    base = Trial()
    gates, trials = [], []
    for _ in range(2):
        log = base.log.appender()
        gate = await RedisGate.open(server.url, log, SystemClock())
        trial = Trial(gate=gate, log=log, directory=base.directory)
        trial.log, trial.key, trial.directory = base.log, base.key, base.directory
        gates.append(gate)
        trials.append(trial)
    await trials[0].send(GOOD, ONE, idempotency_key="makes the epoch")
    base.log.partitions[0].records.clear()
    age(server, PREFIX, DAY + 60)
    yield Pair(server, gates, trials)
    for gate in gates:
        await gate.stop()


async def test_a_retry_at_another_collector_gets_the_first_answer(pair: Pair) -> None:
    """Word for word, and nothing is appended."""
    first = await pair.one.send(MIXED, **KEY)
    again = await pair.two.send(MIXED, **KEY)
    assert first.status_code == 200
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    assert pair.marks() == [None, None]
    answer = await pair.two.send(GOOD, idempotency_key="key-1")
    assert answer.status_code == 400, "what is wrong with the body is told first"
    answer = await pair.two.send({"events": [GOOD]}, **KEY)
    assert (answer.status_code, problem(answer)) == (422, "idempotency_key_reused")


async def test_of_fifty_at_once_one_wins(pair: Pair) -> None:
    """The others are told to come back, and then get its answer."""
    answers = await asyncio.gather(
        *(trial.send(MIXED, **KEY) for _ in range(25) for trial in (pair.one, pair.two))
    )
    won = [each for each in answers if "idempotent-replayed" not in each.headers]
    assert [each.status_code for each in won if each.status_code != 409] == [200]
    assert {each.headers["retry-after"] for each in answers if each.status_code == 409} <= {"1"}
    assert pair.marks() == [None, None]
    winner = next(each for each in won if each.status_code == 200)
    later = await asyncio.gather(*(pair.two.send(MIXED, **KEY) for _ in range(10)))
    assert {each.content for each in later} == {winner.content}


async def test_a_hundred_of_a_hundred_and_twenty_pass(pair: Pair) -> None:
    """Two collectors, one limit; the headers count down over both."""
    workspace = pair.one.directory.create_workspace("small", requests_per_minute=100)
    key = pair.one.directory.create_key(workspace)
    answers = await asyncio.gather(
        *(trial.send(GOOD, ONE, key=key) for _ in range(60) for trial in (pair.one, pair.two))
    )
    statuses = [each.status_code for each in answers]
    assert (statuses.count(200), statuses.count(429)) == (100, 20)
    left = sorted(each.headers["ratelimit"] for each in answers if each.status_code == 200)
    assert len(set(left)) == 100


async def test_a_refused_request_leaves_the_key_free(pair: Pair) -> None:
    """Bad bodies, bad headers, bodies over the limit: the mended one goes under the same key."""
    assert (await pair.one.send(b"[", **KEY)).status_code == 400
    assert (await pair.one.send(b"[" * 11_000_000, **KEY)).status_code == 413
    assert (await pair.one.send(GOOD, ONE, idempotency_key="")).status_code == 400
    assert (await pair.one.send(MIXED, **KEY)).status_code == 200
    assert pair.marks() == [None, None]


async def test_after_a_503_the_retry_elsewhere_is_marked(pair: Pair) -> None:
    """The first try may still be stored."""
    pair.one.log.fail_appends(Unavailable("no answer"))
    assert (await pair.one.send(MIXED, **KEY)).status_code == 503
    pair.one.log.fail_appends(None)
    assert (await pair.two.send(MIXED, **KEY)).status_code == 200
    assert pair.marks() == [MARK_RETRY] * 2


async def test_an_old_event_is_marked_whatever_redis_says(pair: Pair) -> None:
    """Over 23 hours: the key may have been used and forgotten."""
    old = {**GOOD, "timestamp": "2024-03-14T15:00:00Z"}
    assert (await pair.one.send(old, ONE, **KEY)).status_code == 200
    assert pair.marks() == [MARK_RETRY]


@pytest.mark.parametrize("fault", ["stop", "freeze", "kill"])
async def test_without_redis_requests_go_on(pair: Pair, fault: str) -> None:
    """Retries are marked and make the same ids; it is ready all the while, and says so."""
    first = await pair.one.send(MIXED, **KEY)
    getattr(pair.server, fault)()
    again_ = await pair.two.send(MIXED, **KEY)
    assert again_.json() == first.json()
    assert (await pair.two.send(GOOD, ONE)).status_code == 200
    assert pair.marks() == [None, None, MARK_RETRY, MARK_RETRY, None]
    async with pair.two.client() as client:
        assert (await client.get("/readyz")).status_code == 200
    assert not pair.gates[1].is_reachable()
    pair.server.thaw() if fault == "freeze" else pair.server.start()
    for gate in pair.gates:
        await again(gate)
    await until(lambda: all(gate.is_reachable() for gate in pair.gates))
    assert (await pair.one.send(MIXED, **KEY)).headers["idempotent-replayed"] == "true"
