"""One workspace floods one anonymous id: others go on as before."""

from __future__ import annotations

import asyncio
import itertools
import random
import time

import httpx2
import pytest

from tests.scenarios.account import check
from tests.scenarios.cluster import Cluster
from tests.scenarios.load import flooding, loaded, make_event

pytestmark = pytest.mark.node

MEASURED = 60
"""Requests of the quiet workspace, each way."""
SLACK_SECONDS = 1.0
"""The machine is busier, too; two cores run everything and the flood's clients."""
ROUNDS = 5
"""Of which one must do: what else a machine does may spoil some, a hot partition spoils all."""


async def test_a_flood_at_most_doubles_another_workspace_s_delay(
    shared_cluster: Cluster, chosen: random.Random
) -> None:
    """From sending an event to reading it: the 99th percentile without and with the flood."""
    cluster = shared_cluster
    name = f"quiet-{chosen.randrange(1 << 48)}"
    workspace, key = await asyncio.to_thread(cluster.workspace, name)
    found: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        quiet = await measure(cluster, workspace.id, key)
        flood = loaded(cluster, chosen, keyed=0, unkeyed=4, batch=250, make=flooding)
        async with flood as (flooding_workspace, load):
            await load.until_more()
            flooded = await measure(cluster, workspace.id, key)
        found.append((quiet, flooded))
        print(f"99 % in {quiet:.2f} s, and {flooded:.2f} s beside {len(load.accepted):,} events")
        await check(cluster, flooding_workspace, load)
        if flooded <= 2 * quiet + SLACK_SECONDS:
            return
    raise AssertionError(f"seconds without and with the flood: {found}")


async def measure(cluster: Cluster, workspace_id: str, key: str) -> float:
    """The 99th percentile of the seconds between sending an event and reading it."""
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}

    async def watch() -> None:
        query = "SELECT event_id FROM events WHERE workspace_id = {w:String} AND event = 'quiet'"
        while len(seen) < MEASURED:
            rows = await asyncio.to_thread(cluster.rows, query, w=workspace_id)
            now = time.monotonic()
            for (event_id,) in rows:
                if event_id in sent:
                    seen.setdefault(event_id, now)
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=20.0) as http:
        for number in itertools.islice(itertools.count(), MEASURED):
            event = make_event(number) | {"event": "quiet"}
            began = time.monotonic()
            answer = await http.post(f"{cluster.urls[number % 2]}/v1/events", json=event)
            assert answer.status_code == 200, answer.text
            sent[answer.json()["event_id"]] = began
            await asyncio.sleep(0.1)
    await asyncio.wait_for(watching, 60)
    delays = sorted(seen[event_id] - sent[event_id] for event_id in seen)
    return delays[int(len(delays) * 0.99)]
