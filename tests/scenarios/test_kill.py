"""`kill -9` of anything at any moment: what was accepted is in the table exactly once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import statistics
import time
from collections.abc import Callable

import psutil
import pytest

from headrace.runtime.process import LIFELINE_SECONDS
from tests.scenarios.node import PROCESSES, Node, post, until
from tests.scenarios.traffic import Traffic

pytestmark = pytest.mark.node

ROUNDS = 10
HOLDS_SECONDS = 20.0


async def settled_account(node: Node, workspace_id: str, traffic: Traffic) -> None:
    """Every accepted event is in `events` once, and nothing else that cannot be explained."""
    await asyncio.to_thread(node.until_ready)
    await asyncio.to_thread(node.until_settled)
    rows = await asyncio.to_thread(
        node.rows,
        "SELECT event_id, toInt64(properties.number::Int64) FROM events "
        "WHERE workspace_id = {workspace:String}",
        workspace=workspace_id,
    )
    stored = dict(rows)
    assert len(rows) == len(stored), "an event id is in the table more than once"
    print(f"{len(rows)} rows, {len(traffic.accepted)} accepted, {len(traffic.unknown)} unknown")
    assert traffic.accepted, "nothing was accepted"
    await asyncio.to_thread(ledger_is_true, node)
    missing = traffic.accepted.keys() - stored.keys()
    assert not missing
    assert traffic.accepted.items() <= stored.items()
    numbers = [number for _, number in rows]
    assert len(numbers) == len(set(numbers)), "an event is in the table under two ids"
    extra = set(numbers) - set(traffic.accepted.values())
    assert extra <= traffic.unknown, "events that nobody was told of"


def ledger_is_true(node: Node) -> None:
    """Every position of the log is in exactly one table: `headrace ledger` says so."""
    ledger = node.run("ledger")
    assert ledger.returncode == 0, ledger.stdout + ledger.stderr


async def kill(node: Node, name: str) -> float:
    """Kill a process; the seconds until its successor runs."""
    before = await asyncio.to_thread(node.pid, name)
    began = time.monotonic()
    os.kill(before, signal.SIGKILL)
    await holds(lambda: node.pids()[name] not in {before, None})
    return time.monotonic() - began


async def holds(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(HOLDS_SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def something_more_is_accepted(traffic: Traffic) -> None:
    before = len(traffic.accepted)
    await holds(lambda: len(traffic.accepted) > before)


async def test_kill_any_process_ten_times_under_load(node: Node) -> None:
    """Whichever process dies, whenever: it runs again within two seconds (what else the machine
    does may spoil some), nothing is lost or doubled, and while store or processor are down the
    collector takes events."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chosen = random.Random(seed)
    workspace, key = await asyncio.to_thread(node.workspace, "load")
    traffic = Traffic(node.url, key)
    traffic.start()
    victims = [*PROCESSES, *chosen.choices(PROCESSES, k=ROUNDS - len(PROCESSES))]
    chosen.shuffle(victims)
    down_seconds = []
    for victim in victims:
        await asyncio.sleep(chosen.uniform(0.1, 1.5))
        down_seconds.append(await kill(node, victim))
        if victim != "collector":
            await something_more_is_accepted(traffic)
    await traffic.stop()
    assert statistics.median(down_seconds) < 2.0, down_seconds
    restarts = {each.name: each.restarts for each in node.state.processes}
    assert restarts == {name: victims.count(name) for name in PROCESSES}
    await settled_account(node, workspace.id, traffic)


@pytest.mark.parametrize("down", ["store", "processor"])
def test_the_collector_takes_events_while_others_are_down(node: Node, down: str) -> None:
    """With the store or the processor frozen, an event is accepted; it is stored afterwards."""
    frozen = psutil.Process(node.pid(down))
    frozen.suspend()
    answer = post(
        f"{node.url}/v1/events",
        node.credentials.api_key,
        {"event": "down", "user_id": "u", "timestamp": "2026-01-01T00:00:00Z"},
    )
    frozen.kill()
    assert answer.status_code == 200
    node.until_settled()
    rows = node.rows("SELECT event_id FROM events WHERE event = 'down'")
    assert rows == [(answer.json()["event_id"],)]


async def test_kill_the_whole_node_and_start_it_again(make_node: Callable[..., Node]) -> None:
    """`kill -9` of everything at once, three times under load: the same account."""
    node = await asyncio.to_thread(make_node().start)
    workspace, key = await asyncio.to_thread(node.workspace, "load")
    traffic = Traffic(node.url, key)
    traffic.start()
    for _ in range(3):
        await asyncio.sleep(random.uniform(0.3, 1.0))
        await asyncio.to_thread(node.kill_all)
        await asyncio.to_thread(node.start)
    await traffic.stop()
    await settled_account(node, workspace.id, traffic)


def test_children_end_when_the_supervisor_is_killed(node: Node) -> None:
    """`kill -9` of the supervisor alone: its children end by themselves, and the node can be
    started again at once."""
    assert LIFELINE_SECONDS < 2.0, "what is promised"
    assert node.process is not None
    children = psutil.Process(node.process.pid).children()
    assert len(children) == len(PROCESSES)
    node.process.kill()
    node.process.wait()
    _, alive = psutil.wait_procs(children, timeout=HOLDS_SECONDS)
    assert [each for each in alive if is_running(each)] == []
    node.start()


def is_running(process: psutil.Process) -> bool:
    """What has ended and waits for its new parent to notice is a zombie: it runs no more."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def test_sigterm_under_load_loses_nothing(make_node: Callable[..., Node]) -> None:
    """A node told to end ends with 0 while batches come in; the next start has every event."""
    node = await asyncio.to_thread(make_node().start)
    workspace, key = await asyncio.to_thread(node.workspace, "load")
    traffic = Traffic(node.url, key)
    traffic.start()
    await asyncio.sleep(1.0)
    assert await asyncio.to_thread(node.stop) == 0
    await asyncio.to_thread(node.start)
    await traffic.stop()
    await settled_account(node, workspace.id, traffic)


def test_nothing_of_a_node_is_left_when_it_has_ended(node: Node) -> None:
    """After SIGTERM no process of its group is there, and its lock is free."""
    assert node.process is not None
    children = psutil.Process(node.process.pid).children()
    assert node.stop() == 0
    assert not any(child.is_running() for child in children)
    until(lambda: node.run("status").returncode == 3, "status says that it does not run")
