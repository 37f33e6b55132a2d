"""Redis flushed, gone or frozen: accepting goes on, and keys that come again add no row."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.scenarios.account import check
from tests.scenarios.cluster import Cluster
from tests.scenarios.load import Again, loaded

pytestmark = pytest.mark.node


@pytest.mark.parametrize("trouble", ["flush", "kill", "freeze", "lose"])
async def test_redis_in_trouble(
    shared_cluster: Cluster, chosen: random.Random, trouble: str
) -> None:
    """A request is repeated under its key before, while and after: one row for each event."""
    cluster = shared_cluster
    redis = cluster.redis
    async with loaded(cluster, chosen) as (workspace, load):
        again = Again(cluster.urls, load.key, first=1 << 32)
        await again.send()
        await load.until_more()
        if trouble == "flush":
            assert redis.say("FLUSHALL") == "+OK"
        elif trouble == "freeze":
            await asyncio.to_thread(redis.freeze)
        else:
            await asyncio.to_thread(redis.kill)
        await load.until_more()
        await again.send()
        if trouble == "lose":
            redis.lose_file()
        if trouble == "freeze":
            await asyncio.to_thread(redis.thaw)
        elif trouble != "flush":
            await asyncio.to_thread(redis.start)
        await load.until_more()
        await again.send()
        load.accepted |= again.accepted
    await check(cluster, workspace, load)
