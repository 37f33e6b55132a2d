"""Full disks, of the store, of the broker, of the local log: nothing lost, and on by itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from tests.scenarios.account import check
from tests.scenarios.cluster import Cluster, runs
from tests.scenarios.disks import SmallDisk
from tests.scenarios.load import loaded
from tests.scenarios.node import Node, until
from tests.scenarios.test_kill import settled_account
from tests.scenarios.traffic import Traffic

pytestmark = pytest.mark.node


async def test_the_store_s_disk_is_full(
    make_cluster: Callable[..., Cluster], chosen: random.Random
) -> None:
    """The collector goes on accepting; when there is room again everything is stored."""
    cluster = make_cluster(collectors=1, processors=1)
    with SmallDisk(cluster.store.home / "store", 512) as disk:
        await asyncio.to_thread(cluster.start)
        async with loaded(cluster, chosen) as (workspace, load):
            await load.until_more()
            await asyncio.to_thread(disk.fill)
            await until_lagging(cluster, 300)
            await load.until_more()
            await asyncio.to_thread(disk.make_room)
        await check(cluster, workspace, load)
        await asyncio.to_thread(cluster.stop)


async def until_lagging(cluster: Cluster, records: int) -> None:
    for _ in range(300):
        if await cluster.topic.unsettled() > records:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the full disk of the store was not noticed")


async def test_the_broker_s_disk_is_full(
    make_cluster: Callable[..., Cluster], chosen: random.Random
) -> None:
    """A broker that finds no room ends; requests get 503 until it runs again with room."""
    small = {"log.segment.bytes": "1048576", "log.index.size.max.bytes": "65536"}
    cluster = make_cluster(collectors=1, processors=1, broker_properties=small)
    with SmallDisk(cluster.broker.root / "data", 96) as disk:
        await asyncio.to_thread(cluster.start)
        async with loaded(cluster, chosen, batch=50) as (workspace, load):
            await load.until_more()
            await asyncio.to_thread(disk.fill)
            await load.until_answer("503")
            await asyncio.to_thread(disk.make_room)
            await asyncio.to_thread(start_again, cluster)
            await load.until_more()
        await check(cluster, workspace, load)
        await asyncio.to_thread(cluster.stop)


def start_again(cluster: Cluster) -> None:
    if runs(cluster.broker):
        cluster.broker.kill()
    cluster.broker.start()


async def test_the_local_log_s_disk_is_full(make_node: Callable[..., Node]) -> None:
    """503 until there is room, then accepted again by the same process; nothing is lost."""
    node = make_node()
    node.home.root.mkdir()
    with SmallDisk(node.home.root, 320) as disk:
        store = node.home.root.parent / "store"
        store.mkdir()
        node.home.store.symlink_to(store)
        await asyncio.to_thread(node.start)
        workspace, key = await asyncio.to_thread(node.workspace, "load")
        collector = node.pid("collector")
        traffic = Traffic(node.url, key)
        traffic.start()
        await asyncio.sleep(1.0)
        await asyncio.to_thread(disk.fill)
        before = traffic.unavailable
        await asyncio.to_thread(until, lambda: traffic.unavailable > before + 5, "503 is answered")
        await asyncio.to_thread(disk.make_room)
        accepted = len(traffic.accepted)
        await asyncio.to_thread(until, lambda: len(traffic.accepted) > accepted + 100, "accepting")
        assert node.pid("collector") == collector
        await traffic.stop()
        await settled_account(node, workspace.id, traffic)
        assert await asyncio.to_thread(node.stop) == 0
