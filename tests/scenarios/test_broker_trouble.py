"""A broker that refuses, comes late or cannot be reached in whatever way."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable

import pytest

from tests.scenarios.account import check
from tests.scenarios.cluster import PARTITIONS, Cluster
from tests.scenarios.faults import TROUBLES
from tests.scenarios.load import Load, loaded
from tests.scenarios.node import post, until

pytestmark = pytest.mark.node


async def test_a_broker_that_comes_after_the_collectors_and_a_topic_after_the_broker(
    make_cluster: Callable[..., Cluster], chosen: random.Random
) -> None:
    """Collectors that find no broker, then no topic, refuse with 503 and then begin by
    themselves."""
    cluster = make_cluster(collectors=1, processors=1)
    collector = cluster.collectors[0]
    cluster.to_broker.start()
    cluster.to_store.start()
    for server in (cluster.redis, cluster.store, collector):
        await asyncio.to_thread(server.start)
    async with loaded(cluster, chosen) as (workspace, load):
        await load.until_answer("503")
        assert collector.status("/livez") == 200
        assert collector.status("/readyz") == 503
        await asyncio.to_thread(cluster.broker.start)
        await load.until_answer("503")
        assert "200" not in load.answers, "there is no topic yet"
        await asyncio.to_thread(cluster.migrate)
        await load.until_more()
        await asyncio.to_thread(until, lambda: collector.status("/readyz") == 200, "it is ready")
        await asyncio.to_thread(cluster.processors[0].start)
    await check(cluster, workspace, load)
    assert load.without_retry_after == 0


async def test_a_batch_that_the_broker_refuses_as_too_large(
    shared_cluster: Cluster, chosen: random.Random
) -> None:
    """The topic takes less than the collector thinks: the large request is answered, small ones
    beside it and after it are accepted, and once the topic takes it the retry is."""
    cluster = shared_cluster
    async with loaded(cluster, chosen) as (workspace, load):
        await load.until_more()
        await cluster.topic.alter({"max.message.bytes": "20000"})
        large = Load(cluster.urls, load.key, keyed=1, unkeyed=1, batch=1000, first=1 << 32)
        large.start()
        try:
            await large.until_any_answer()
            await load.until_more()
            await cluster.topic.alter({"max.message.bytes": str(16 * 1024 * 1024)})
            await large.until_more()
        finally:
            await cluster.topic.alter({"max.message.bytes": str(16 * 1024 * 1024)})
            await large.stop()
        load.merge(large)
    await check(cluster, workspace, load)


async def test_a_way_to_the_broker_that_cuts_drops_delays_and_holds(
    shared_cluster: Cluster, chosen: random.Random
) -> None:
    """Whatever the network does to one collector's requests, each event is there once."""
    cluster = shared_cluster
    proxy = cluster.to_broker
    async with loaded(cluster, chosen) as (workspace, load):
        for trouble in chosen.sample(TROUBLES, len(TROUBLES)):
            await load.until_more()
            arguments = [0.3] if trouble == "delay" else []
            await asyncio.to_thread(getattr(proxy, trouble), *arguments)
            await asyncio.sleep(chosen.uniform(1.0, 4.0))
            await asyncio.to_thread(proxy.pass_on)
        alone = Load(cluster.urls[:1], load.key, first=1 << 32)
        alone.start()
        await alone.until_more()  # also through the collector that had all the trouble
        await alone.stop()
        load.merge(alone)
    await check(cluster, workspace, load)


async def test_what_is_not_ours_is_rejected_where_it_lies(
    shared_cluster: Cluster, chosen: random.Random
) -> None:
    """No JSON, another shape, nothing at all, ten megabytes: each is in rejected_events with its
    bytes, and events around it are stored."""
    cluster = shared_cluster
    strange = [b"", b"no JSON \xff", b"[]", b'{"event_id": 1}', b"x" * 10_000_000]
    before = await asyncio.to_thread(cluster.rows, "SELECT count() FROM rejected_events")
    async with loaded(cluster, chosen) as (workspace, load):
        for number, value in enumerate(strange * PARTITIONS):
            await cluster.topic.append(value, key=b"stranger-%d" % number)
        await load.until_more()
    account = await check(cluster, workspace, load)
    after = await asyncio.to_thread(cluster.rows, "SELECT count() FROM rejected_events")
    assert after[0][0] - before[0][0] - account.rejected == len(strange) * PARTITIONS
    lengths = await asyncio.to_thread(
        cluster.rows, "SELECT max(length(raw)) FROM rejected_events WHERE workspace_id = ''"
    )
    assert lengths == [(10_000_000,)]


async def test_fifty_at_once_with_the_same_key(
    shared_cluster: Cluster, chosen: random.Random
) -> None:
    """Over all collectors: one wins, those who come while it runs get 409, and whoever repeats
    gets the winner's answer: out of Redis, or, where that did not answer within 50 ms, made once
    more of the same ids."""
    cluster = shared_cluster
    name = f"fifty-{chosen.randrange(1 << 48)}"
    workspace, key = await asyncio.to_thread(cluster.workspace, name)
    events = [
        {"event": "fifty", "user_id": "u", "timestamp": "2026-01-01T00:00:00Z"} for _ in range(5)
    ]

    def send(url: str) -> tuple[int, str, str]:
        headers = {"Idempotency-Key": name}
        answer = post(f"{url}/v1/batch/events", key, {"events": events}, **headers)
        replayed = answer.headers.get("idempotent-replayed", "")
        return answer.status_code, replayed, answer.text if answer.status_code == 200 else ""

    for url in cluster.urls:  # its connections are made before each of their steps takes seconds
        warm = await asyncio.to_thread(post, f"{url}/v1/events", key, events[0] | {"event": "warm"})
        assert warm.status_code == 200, warm.text
    await asyncio.to_thread(cluster.to_broker.delay, 1.0)
    first = asyncio.create_task(asyncio.to_thread(send, cluster.urls[0]))
    await asyncio.sleep(0.5)
    others = await asyncio.gather(
        *(asyncio.to_thread(send, cluster.urls[number % 2]) for number in range(49))
    )
    answers = [await first, *others]
    await asyncio.to_thread(cluster.to_broker.pass_on)
    assert {status for status, _, _ in answers} == {200, 409}
    [won] = {text for status, _, text in answers if status == 200}
    assert "" in {replayed for status, replayed, _ in answers if status == 200}
    again = await asyncio.gather(*(asyncio.to_thread(send, url) for url in cluster.urls * 3))
    assert {(status, text) for status, _, text in again} == {(200, won)}
    assert "true" in {replayed for _, replayed, _ in again}

    def rows() -> list[str]:
        query = "SELECT event_id FROM events WHERE workspace_id = {w:String} AND event = 'fifty'"
        return sorted(event_id for (event_id,) in cluster.rows(query, w=workspace.id))

    ids = sorted(json.loads(won)["event_ids"])
    assert len(ids) == 5
    await asyncio.to_thread(until, lambda: rows() == ids, "the winner's five events are there")
