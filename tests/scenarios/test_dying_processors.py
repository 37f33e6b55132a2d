"""Processors that die or freeze in the middle of their work, on a real log and a real store."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.scenarios.account import check, until_settled
from tests.scenarios.cluster import Cluster
from tests.scenarios.conftest import IS_LONG
from tests.scenarios.faults import POINTS, die_at
from tests.scenarios.load import loaded
from tests.scenarios.node import until

pytestmark = pytest.mark.node


async def test_processors_that_die_between_two_steps(
    shared_cluster: Cluster, chosen: random.Random
) -> None:
    """Both processors die again and again, each time between two other steps of their work."""
    cluster = shared_cluster
    points = chosen.sample(POINTS, len(POINTS)) * (3 if IS_LONG else 1)
    async with loaded(cluster, chosen) as (workspace, load):
        for first, second in zip(points[::2], points[1::2], strict=True):
            await asyncio.gather(
                asyncio.to_thread(die_at, cluster.processors[0], first, chosen.randint(1, 3)),
                asyncio.to_thread(die_at, cluster.processors[1], second, chosen.randint(1, 3)),
            )
        for processor in cluster.processors:
            processor.temporary.clear()
            await asyncio.to_thread(processor.start)
    await check(cluster, workspace, load)


async def test_a_frozen_processor_is_replaced_and_wakes(
    shared_cluster: Cluster, chosen: random.Random
) -> None:
    """Stopped past its session while its block is on its way: another takes over; the block that
    arrives late adds nothing, nor does what the first does when it goes on."""
    cluster = shared_cluster
    frozen = cluster.processors[0]
    async with loaded(cluster, chosen) as (workspace, load):
        await load.until_more()
        await asyncio.to_thread(cluster.to_store.hold)
        await asyncio.to_thread(until, lambda: cluster.to_store.held_requests, "a block is held")
        await asyncio.to_thread(frozen.freeze)
    await until_settled(cluster)  # by the other one alone
    await asyncio.to_thread(cluster.to_store.pass_on)
    await check(cluster, workspace, load)
    await asyncio.to_thread(frozen.thaw)
    async with loaded(cluster, chosen) as (other, more):
        await more.until_more()
        await asyncio.sleep(3.0)  # time for whatever the woken one still has in mind
    await check(cluster, other, more)
    await check(cluster, workspace, load)
