"""PostgreSQL frozen and killed under load: collectors serve from what they know."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.scenarios.account import check
from tests.scenarios.cluster import Cluster
from tests.scenarios.load import loaded, make_event
from tests.scenarios.node import post, until
from tests.services.postgres import PostgresServer

pytestmark = pytest.mark.node

_APART = 1 << 40
"""The number of an event that is none of the load's."""


@pytest.fixture
def cluster(tmp_path: Path, own_postgres: PostgresServer) -> Iterator[Cluster]:
    """One whose PostgreSQL nobody else needs."""
    made = Cluster(tmp_path / "cluster", own_postgres.make_database())
    try:
        yield made.start()
    finally:
        made.stop()


async def test_collectors_go_on_without_control_data(
    cluster: Cluster, own_postgres: PostgresServer, chosen: random.Random
) -> None:
    """No request is refused for it, a collector that begins meanwhile knows the keys, and a new
    key is known soon after PostgreSQL is back."""
    one = cluster.collectors[1]
    async with loaded(cluster, chosen) as (workspace, load):
        await load.until_more()
        await asyncio.to_thread(own_postgres.freeze)
        for _ in range(5):
            await load.until_more()
        await asyncio.to_thread(own_postgres.kill)
        await load.until_more()
        assert set(load.answers) == {"200"}
        await asyncio.to_thread(one.kill)
        await asyncio.to_thread(one.start)
        await asyncio.to_thread(until, lambda: one.status("/readyz") == 200, "it is ready")
        answer = await asyncio.to_thread(_send, one.url, load.key)
        assert answer.status_code == 200, answer.text
        load.accepted[answer.json()["event_id"]] = _APART
        await load.until_more()
        assert not {"401", "403", "503"} & set(load.answers), load.answers
        await asyncio.to_thread(own_postgres.start)
        _, key = await asyncio.to_thread(cluster.workspace, "made-afterwards")
        for url in cluster.urls:
            answer = await asyncio.to_thread(_send, url, key)
            assert answer.status_code == 200, answer.text
        await load.until_more()
    await check(cluster, workspace, load)


def _send(url: str, key: str) -> httpx2.Response:
    return post(f"{url}/v1/events", key, make_event(_APART))
