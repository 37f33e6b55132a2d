"""`kill -9` of anything in a cluster at any moment: what was accepted is there exactly once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from tests.scenarios.account import check
from tests.scenarios.cluster import Cluster
from tests.scenarios.load import loaded
from tests.services.server import Server

pytestmark = pytest.mark.node

KILLS = {  # twenty in all
    "collector": 5,
    "processor": 5,
    "store": 4,
    "redis": 4,
    "broker": 2,
}


async def test_twenty_kills_under_load(shared_cluster: Cluster, chosen: random.Random) -> None:
    """Collectors, processors, store, broker and Redis die one after another, and come again."""
    cluster = shared_cluster
    kinds = [kind for kind, times in KILLS.items() for _ in range(times)]
    chosen.shuffle(kinds)
    async with loaded(cluster, chosen) as (workspace, load):
        for kind in kinds:
            await asyncio.sleep(chosen.uniform(0.1, 1.0))
            victim = chosen.choice(victims(cluster, kind))
            await asyncio.to_thread(victim.kill)
            if kind != "broker":
                await load.until_more()
            await asyncio.sleep(chosen.uniform(0.0, 0.5))
            await asyncio.to_thread(victim.start)
        await load.until_more()
    await check(cluster, workspace, load)
    ledger = await asyncio.to_thread(cluster.ledger)
    assert ledger.returncode == 0, ledger.stdout + ledger.stderr


def victims(cluster: Cluster, kind: str) -> Sequence[Server]:
    """Those of a kind."""
    of_kind: dict[str, Sequence[Server]] = {
        "collector": cluster.collectors,
        "processor": cluster.processors,
        "store": [cluster.store],
        "redis": [cluster.redis],
        "broker": [cluster.broker],
    }
    return of_kind[kind]
