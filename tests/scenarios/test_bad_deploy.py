"""A processor started with schemas that reject what everybody sends: it stops, nothing drains."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.account import check
from tests.scenarios.cluster import Cluster
from tests.scenarios.faults import write_schemas
from tests.scenarios.load import loaded

pytestmark = pytest.mark.node

RECORDS = 50
STRICTER = {"type": "object", "required": ["nobody_sends_this"]}


async def test_the_breaker_stops_a_processor_and_the_log_keeps_what_came(
    make_cluster: Callable[..., Cluster], chosen: random.Random, tmp_path: Path
) -> None:
    """It ends loudly, however often it is started; collectors go on; mended, it catches up."""
    cluster = await asyncio.to_thread(
        make_cluster(processors=1, HEADRACE_BREAKER_RECORDS=str(RECORDS)).start
    )
    [processor] = cluster.processors
    assert await asyncio.to_thread(processor.end) == 0
    processor.temporary["HEADRACE_SCHEMAS"] = str(write_schemas(tmp_path / "stricter", STRICTER))
    async with loaded(cluster, chosen, pause_seconds=0.2) as (workspace, load):
        while len(load.accepted) < 20 * RECORDS:
            await load.until_more()
        for _ in range(2):
            said = len(processor.said())
            await asyncio.to_thread(processor.launch)
            assert await asyncio.to_thread(processor.exit_code, 120) not in {0, -9}
            last_words = processor.said()[said:]
            assert "the breaker stopped the processor" in last_words
            assert "rejected for one new reason" in last_words
        assert await asyncio.to_thread(rejected, cluster) < RECORDS
        await load.until_more()
        assert all(collector.status("/readyz") == 200 for collector in cluster.collectors)
        processor.temporary.clear()
        await asyncio.to_thread(processor.start)
    account = await check(cluster, workspace, load)
    assert account.stored > account.rejected


def rejected(cluster: Cluster) -> int:
    """How many events the stricter schema has rejected."""
    query = "SELECT count() FROM rejected_events WHERE event = 'scenario'"
    [(count,)] = cluster.rows(query)
    return int(count)
