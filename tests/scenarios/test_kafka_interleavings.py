"""Commits, topics, windows, schemas and keys that are lost, changed or come in the wrong order.

`test_exactly_once.py` forces every interleaving on the fakes; here the same stories run on a real
broker, a real engine and a real Redis.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from headrace.processor.failpoints import Point
from tests.scenarios.account import check, until_settled
from tests.scenarios.cluster import Cluster
from tests.scenarios.faults import (
    kill_processors,
    set_windows,
    stale_positions,
    until_group_is_empty,
    write_schemas,
)
from tests.scenarios.load import Again, Load, loaded
from tests.scenarios.node import until

pytestmark = pytest.mark.node


async def lose(cluster: Cluster, _: random.Random) -> None:
    cluster.forget_commits()


async def move_back(cluster: Cluster, chosen: random.Random) -> None:
    await until_group_is_empty(cluster)
    await cluster.topic.move(await stale_positions(cluster, chosen), cluster.group)


async def keep(_: Cluster, __: random.Random) -> None:
    """Nothing happens to the commits."""


@pytest.mark.parametrize("fate", [lose, move_back], ids=["lost", "moved back"])
async def test_commits_that_are_lost_or_stale(
    shared_cluster: Cluster,
    chosen: random.Random,
    fate: Callable[[Cluster, random.Random], Awaitable[None]],
) -> None:
    """The processors die under load, and what they committed is gone, or that of a late commit of
    somebody who was replaced long ago."""
    cluster = shared_cluster
    async with loaded(cluster, chosen) as (workspace, load):
        await load.until_more()
        await asyncio.sleep(chosen.uniform(0.5, 1.5))
        await kill_processors(cluster)
        await fate(cluster, chosen)
        await asyncio.to_thread(cluster.start_programs)
        await load.until_more()
    await check(cluster, workspace, load)


async def test_a_stale_commit_while_the_owner_works_on(
    shared_cluster: Cluster, chosen: random.Random
) -> None:
    """A late commit of a replaced owner gets through while its successor works: the position goes
    back, and whoever comes next finds held what was settled."""
    cluster = shared_cluster
    async with loaded(cluster, chosen) as (workspace, load):
        for _ in range(2):
            await load.until_more()
            before = await cluster.topic.committed(cluster.group)
            await asyncio.sleep(1.0)
            await kill_processors(cluster)
            await until_group_is_empty(cluster)
            await cluster.topic.move(before, cluster.group)
            await asyncio.to_thread(cluster.start_programs)
    await check(cluster, workspace, load)


@pytest.mark.parametrize(
    ("point", "then"),
    [(Point.EVENTS_INSERTED, "other"), (Point.REJECTED_INSERTED, "shipped")],
    ids=["then others", "then the shipped ones"],
)
async def test_schemas_that_change_between_two_tries(
    shared_cluster: Cluster, chosen: random.Random, tmp_path: Path, point: Point, then: str
) -> None:
    """The owner dies in a range, and its successors judge the same records otherwise: some that
    were good are rejected now, and some that were not are good."""
    cluster = shared_cluster
    others = {"HEADRACE_SCHEMAS": str(write_schemas(tmp_path))}
    before, after = ({}, others) if then == "other" else (others, {})
    async with loaded(cluster, chosen) as (workspace, load):
        await kill_processors(cluster)
        for number, processor in enumerate(cluster.processors):
            processor.temporary |= {"HEADRACE_FAIL_POINT": f"{point}:{number + 1}", **before}
            await asyncio.to_thread(processor.launch)
        for processor in cluster.processors:
            assert await asyncio.to_thread(processor.exit_code, 180) == -9
            processor.temporary.clear()
            processor.temporary |= after
            await asyncio.to_thread(processor.launch)
        await load.until_more()
    await check(cluster, workspace, load)


async def test_a_store_away_longer_than_windows_of_one(
    make_cluster: Callable[..., Cluster], chosen: random.Random
) -> None:
    """The store remembers one token alone and dies again and again in the middle of inserts, and
    processors beside it, with and without their commits."""
    cluster = await asyncio.to_thread(make_cluster().start)
    await asyncio.to_thread(set_windows, cluster, 1)
    async with loaded(cluster, chosen) as (workspace, load):
        for fate in (keep, lose, keep, move_back):
            await load.until_more()
            await asyncio.sleep(chosen.uniform(0.2, 1.0))
            await asyncio.to_thread(cluster.store.kill)
            await asyncio.sleep(chosen.uniform(0.2, 2.0))
            await asyncio.to_thread(cluster.store.start)
            await kill_processors(cluster)
            await fate(cluster, chosen)
            await asyncio.to_thread(cluster.start_programs)
    await check(cluster, workspace, load)
    await remake_topic(cluster, chosen)


async def remake_topic(cluster: Cluster, chosen: random.Random) -> None:
    """A topic made anew under the same name is another log: its positions are other places."""
    for program in (*cluster.collectors, *cluster.processors):
        assert await asyncio.to_thread(program.end) == 0
    await cluster.topic.delete()
    await asyncio.to_thread(cluster.migrate)
    await asyncio.to_thread(cluster.start_programs)
    async with loaded(cluster, chosen) as (workspace, load):
        await load.until_more()
    await until_settled(cluster)
    await check(cluster, workspace, load, logs=2)


async def test_redis_flushed_between_two_tries(
    shared_cluster: Cluster, chosen: random.Random
) -> None:
    """All that was remembered of a request is gone: its repetition has the same ids, is looked up
    and is not stored again, even when it waited in the log with the first try."""
    cluster = shared_cluster
    async with loaded(cluster, chosen) as (workspace, load):
        again = Again(cluster.urls, load.key, first=1 << 32)
        await kill_processors(cluster)
        await again.send()
        assert cluster.redis.say("FLUSHALL") == "+OK"
        await again.send()
        await asyncio.to_thread(cluster.start_programs)
        await load.until_more()
        assert cluster.redis.say("FLUSHALL") == "+OK"
        await again.send()
        load.accepted |= again.accepted
    account = await check(cluster, workspace, load)
    stored = sum(number % 10 != 3 for number in again.accepted.values())
    assert account.deduplicated >= stored * 2


async def test_a_retry_that_is_stored_before_its_first_try(
    shared_cluster: Cluster, chosen: random.Random
) -> None:
    """The first try hangs on its way to the broker, its retry goes through another collector and
    is stored, and then the first one arrives: it is dropped."""
    cluster = shared_cluster
    proxy = cluster.to_broker
    async with loaded(cluster, chosen, urls=cluster.urls[1:]) as (workspace, load):
        await load.until_more()
        await asyncio.to_thread(proxy.hold)
        late = Load(cluster.urls[:1], load.key, keyed=1, unkeyed=0, first=1 << 32)
        late.start()
        await asyncio.to_thread(until, lambda: proxy.held_requests > 1000, "a batch is held")
        await late.until_answer("503")
        late.urls[:] = cluster.urls[1:]
        await late.until_more()
        await late.stop()
        await until_settled_so_far(cluster, late)
        await asyncio.to_thread(proxy.pass_on)
        await asyncio.sleep(2.0)
        load.merge(late)
    account = await check(cluster, workspace, load)
    assert account.deduplicated > 0, "the first try never came"


async def until_settled_so_far(cluster: Cluster, load: Load) -> None:
    """Until everything that this load has been promised is in a table."""
    query = "SELECT count() FROM (SELECT event_id FROM {0} WHERE event_id IN {{ids:Array(String)}})"
    ids = list(load.accepted)

    def found() -> bool:
        counts: list[int] = [
            cluster.rows(query.format(table), ids=ids)[0][0]
            for table in ("events", "rejected_events")
        ]
        return len(ids) == sum(counts)

    await asyncio.to_thread(until, found, "the retry is stored")
