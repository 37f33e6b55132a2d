"""A broker that says nothing for a minute: every request is answered, and all goes on by itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from tests.scenarios.account import check
from tests.scenarios.cluster import Cluster
from tests.scenarios.load import loaded
from tests.scenarios.node import until

pytestmark = pytest.mark.node

DEADLINE_SECONDS = 10.0
SLACK_SECONDS = 6.0
"""What client and machine may take on top; two cores run everything."""
MORE_BYTES = 64 * 1024 * 1024


async def test_a_frozen_broker_is_waited_out(
    shared_cluster: Cluster,
    chosen: random.Random,
    long_or: Callable[[float, float], float],
) -> None:
    """503 with Retry-After within the deadline, memory stays flat, /readyz says no and /livez
    yes; when the broker goes on, so do the same processes."""
    cluster = shared_cluster
    async with loaded(cluster, chosen, keyed=8, unkeyed=8) as (workspace, load):
        await load.until_more()
        pids = [program.pid for program in cluster.programs]
        before = [collector.rss_bytes for collector in cluster.collectors]
        await asyncio.to_thread(cluster.broker.freeze)
        frozen = asyncio.create_task(asyncio.sleep(long_or(60.0, 22.0)))
        await load.until_answer("503")
        await until_all_say(cluster, 503)
        while not frozen.done():
            # In a thread: clients of this loop would take what it waits for the collectors'.
            assert await asyncio.to_thread(lives, cluster) == [200, 200]
            await asyncio.wait([frozen], timeout=1.0)
        after = [collector.rss_bytes for collector in cluster.collectors]
        assert load.slowest_seconds < DEADLINE_SECONDS + SLACK_SECONDS
        assert load.answers.keys() <= {"200", "409", "503"}, load.answers
        assert load.without_retry_after == 0
        await asyncio.to_thread(cluster.broker.thaw)
        await load.until_more()  # within five is promised, to a machine with time for it
        await until_all_say(cluster, 200)
        assert [program.pid for program in cluster.programs] == pids
    await check(cluster, workspace, load)
    assert all(now - then < MORE_BYTES for then, now in zip(before, after, strict=True)), (
        f"from {before} to {after} bytes"
    )


def lives(cluster: Cluster) -> list[int]:
    """What /livez of every collector says."""
    return [each.status("/livez", seconds=15.0) for each in cluster.collectors]


async def until_all_say(cluster: Cluster, status: int) -> None:
    """Until /readyz of every collector answers so."""
    await asyncio.to_thread(
        until,
        lambda: {each.status("/readyz") for each in cluster.collectors} == {status},
        f"/readyz says {status}",
    )
