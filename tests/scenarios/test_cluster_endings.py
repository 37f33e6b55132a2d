"""Ending in order, clocks that are wrong, and processors that come and go."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import pytest

from tests.scenarios.account import check
from tests.scenarios.cluster import Cluster
from tests.scenarios.faults import come_or_go
from tests.scenarios.load import loaded
from tests.scenarios.program import Program

pytestmark = pytest.mark.node

DAY, HOUR = 86_400, 3_600


async def end(*programs: Program, times: int = 1) -> list[int]:
    """The exit codes of programs that were all told at once."""
    return await asyncio.gather(*(asyncio.to_thread(each.end, times=times) for each in programs))


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
async def test_sigterm_to_everything_under_load(
    shared_cluster: Cluster, chosen: random.Random, times: int
) -> None:
    """All end with 0 within their grace, also when told twice; the next start has every event."""
    cluster = shared_cluster
    async with loaded(cluster, chosen) as (workspace, load):
        await load.until_more()
        codes = await end(*cluster.programs, times=times)
        assert codes == [0] * len(cluster.programs), cluster.said()
        await asyncio.to_thread(cluster.start_programs)
        await load.until_more()
    await check(cluster, workspace, load)


async def test_sigterm_while_the_broker_is_frozen(
    shared_cluster: Cluster, chosen: random.Random
) -> None:
    """A broker that says nothing keeps nobody from ending in time."""
    cluster = shared_cluster
    async with loaded(cluster, chosen) as (workspace, load):
        await load.until_more()
        await asyncio.to_thread(cluster.broker.freeze)
        await asyncio.sleep(chosen.uniform(0.5, 3.0))
        codes = await end(*cluster.collectors, *cluster.processors)
        assert codes == [0, 0, 0, 0], cluster.said()
        await asyncio.to_thread(cluster.broker.thaw)
        await asyncio.to_thread(cluster.start_programs)
        await load.until_more()
    await check(cluster, workspace, load)


@pytest.mark.parametrize("offset", [DAY, -HOUR], ids=["a day ahead", "an hour back"])
async def test_the_clock_of_one_process_jumps(
    shared_cluster: Cluster, chosen: random.Random, offset: int
) -> None:
    """A collector and then a processor live at another time than the others."""
    cluster = shared_cluster
    async with loaded(cluster, chosen) as (workspace, load):
        for program in (cluster.collectors[1], cluster.processors[1]):
            await load.until_more()
            await asyncio.to_thread(program.kill)
            program.temporary["HEADRACE_CLOCK_OFFSET_SECONDS"] = str(offset)
            await asyncio.to_thread(program.start)
            await load.until_more()
        await asyncio.to_thread(cluster.mend)
        await load.until_more()
    await check(cluster, workspace, load)


async def test_processors_that_come_and_go_all_the_time(
    shared_cluster: Cluster, chosen: random.Random, long_or: Callable[[float, float], float]
) -> None:
    """A storm of rebalances: every few seconds one of four starts, ends or dies."""
    cluster = shared_cluster
    processors = [*cluster.processors, cluster.add_processor(), cluster.add_processor()]
    async with loaded(cluster, chosen) as (workspace, load):
        until = time.monotonic() + long_or(120.0, 30.0)
        while time.monotonic() < until:
            await asyncio.to_thread(come_or_go, chosen.choice(processors), chosen)
            await asyncio.sleep(chosen.uniform(0.2, 3.0))
        await load.until_more()
        await asyncio.to_thread(cluster.mend)
    await check(cluster, workspace, load)
