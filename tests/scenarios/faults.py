"""Faults that happen to a cluster under load, one at a time, chosen at random: `make soak`.

Owns what each of them does and how it ends: when a fault returns, the cluster is whole again, and
nothing but the account can tell that it happened. The scenarios' tests have each of them alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.processor.failpoints import Point
from headrace.store.engines import WINDOW_BLOCKS
from tests.scenarios.account import until_settled
from tests.scenarios.cluster import Cluster, runs
from tests.scenarios.disks import SmallDisk
from tests.scenarios.load import Again, Load, flooding
from tests.scenarios.program import Program
from tests.services.postgres import PostgresServer

POINTS: Final = (
    Point.PREPARED,
    Point.ANNOUNCED,
    Point.REMEMBERED,
    Point.EVENTS_INSERTED,
    Point.REJECTED_INSERTED,
    Point.LINKS_INSERTED,
    Point.WRITTEN,
    Point.COMMITTED,
)
"""Those that every load comes by."""
TROUBLES: Final = ("cut", "drop_answers", "refuse", "hold", "delay")
WINDOWED: Final = ("events_rows", "rejected_events_rows", "deduplicated_events_rows")
"""The tables whose blocks carry tokens."""
CAREFUL: Final = {"type": "object", "properties": {"tenth": {"type": "integer", "maximum": 7}}}
"""A schema of the event `scenario` that rejects some of them; `purchase` has none beside it."""


class Stage(msgspec.Struct, frozen=True):
    """What faults happen to."""

    cluster: Cluster
    postgres: PostgresServer
    load: Load
    chosen: random.Random
    disks: Mapping[str, SmallDisk]
    longest_seconds: float
    """Of a broker that says nothing."""

    def first_number(self) -> int:
        """Where the numbers of another load begin: beyond those of the soak's own."""
        return self.chosen.randrange(1 << 6, 1 << 20) << 32


Fault = Callable[[Stage], Awaitable[None]]


async def kill(stage: Stage) -> None:
    """`kill -9` of anything, and its return."""
    victim = stage.chosen.choice([*stage.cluster.servers, stage.postgres])
    await asyncio.to_thread(victim.kill)
    await asyncio.sleep(stage.chosen.uniform(0.0, 3.0))
    await asyncio.to_thread(victim.start)


async def die_between_steps(stage: Stage) -> None:
    """A processor that kills itself at a fail point."""
    processor = stage.chosen.choice(stage.cluster.processors)
    point = stage.chosen.choice(POINTS)
    await asyncio.to_thread(die_at, processor, point, stage.chosen.randint(1, 4))
    processor.temporary.clear()
    await asyncio.to_thread(processor.start)


def die_at(processor: Program, point: Point, nth: int) -> None:
    """Run a processor anew until it kills itself at the point."""
    processor.kill()
    processor.temporary["HEADRACE_FAIL_POINT"] = f"{point}:{nth}"
    processor.launch()
    assert processor.exit_code(90) == -signal.SIGKILL, processor.said()[-2000:]


async def freeze_processor(stage: Stage) -> None:
    """A processor stopped past its session, its block held on the way, and both let go."""
    cluster = stage.cluster
    await asyncio.to_thread(cluster.to_store.hold)
    await asyncio.sleep(stage.chosen.uniform(0.2, 1.0))
    await asyncio.to_thread(cluster.processors[0].freeze)
    await asyncio.sleep(stage.chosen.uniform(1.0, 14.0))
    releases = [cluster.to_store.pass_on, cluster.processors[0].thaw]
    for release in stage.chosen.sample(releases, 2):
        await asyncio.to_thread(release)
        await asyncio.sleep(stage.chosen.uniform(0.0, 2.0))


async def freeze_broker(stage: Stage) -> None:
    """A broker that says nothing for a while."""
    await asyncio.to_thread(stage.cluster.broker.freeze)
    await asyncio.sleep(stage.chosen.uniform(2.0, stage.longest_seconds))
    await asyncio.to_thread(stage.cluster.broker.thaw)


async def disturb_network(stage: Stage) -> None:
    """A collector's way to the broker cuts, drops answers, refuses, holds or delays."""
    proxy = stage.cluster.to_broker
    trouble = stage.chosen.choice(TROUBLES)
    arguments = [stage.chosen.uniform(0.05, 1.0)] if trouble == "delay" else []
    await asyncio.to_thread(getattr(proxy, trouble), *arguments)
    await asyncio.sleep(stage.chosen.uniform(0.5, 15.0))
    await asyncio.to_thread(proxy.pass_on)


async def refuse_large(stage: Stage) -> None:
    """A topic that takes less than collectors think."""
    await stage.cluster.topic.alter({"max.message.bytes": "2000"})
    try:
        await asyncio.sleep(stage.chosen.uniform(1.0, 5.0))
    finally:
        await stage.cluster.topic.alter({"max.message.bytes": str(16 * 1024 * 1024)})


async def forget_keys(stage: Stage) -> None:
    """Redis flushed."""
    assert stage.cluster.redis.say("FLUSHALL") == "+OK"


async def freeze_redis(stage: Stage) -> None:
    """Redis that says nothing."""
    await asyncio.to_thread(stage.cluster.redis.freeze)
    await asyncio.sleep(stage.chosen.uniform(0.5, 8.0))
    await asyncio.to_thread(stage.cluster.redis.thaw)


async def freeze_store(stage: Stage) -> None:
    """A store that says nothing."""
    await asyncio.to_thread(stage.cluster.store.freeze)
    await asyncio.sleep(stage.chosen.uniform(0.5, 20.0))
    await asyncio.to_thread(stage.cluster.store.thaw)


async def freeze_control_data(stage: Stage) -> None:
    """PostgreSQL that says nothing; the last snapshot serves."""
    await asyncio.to_thread(stage.postgres.freeze)
    try:
        await stage.load.until_more()
        await asyncio.sleep(stage.chosen.uniform(0.5, 8.0))
    finally:
        await asyncio.to_thread(stage.postgres.thaw)


async def end_everything(stage: Stage) -> None:
    """`SIGTERM` to all programs at once."""
    programs = stage.cluster.programs
    times = stage.chosen.choice([1, 2])
    codes = await asyncio.gather(
        *(asyncio.to_thread(program.end, times=times) for program in programs)
    )
    assert codes == [0] * len(programs), f"{codes}{stage.cluster.said()}"
    await asyncio.to_thread(stage.cluster.start_programs)


async def move_a_clock(stage: Stage) -> None:
    """A process lives a day ahead or an hour back for a while."""
    program = stage.chosen.choice([*stage.cluster.collectors, *stage.cluster.processors])
    program.temporary["HEADRACE_CLOCK_OFFSET_SECONDS"] = stage.chosen.choice(["86400", "-3600"])
    await restart(program)
    await asyncio.sleep(stage.chosen.uniform(1.0, 5.0))
    program.temporary.clear()
    await restart(program)


async def restart(program: Program) -> None:
    await asyncio.to_thread(program.kill)
    await asyncio.to_thread(program.start)


async def storm(stage: Stage) -> None:
    """Processors that come and go every few seconds."""
    cluster = stage.cluster
    processors = [*cluster.processors, cluster.add_processor(), cluster.add_processor()]
    for _ in range(stage.chosen.randint(3, 10)):
        await asyncio.to_thread(come_or_go, stage.chosen.choice(processors), stage.chosen)
        await asyncio.sleep(stage.chosen.uniform(0.2, 3.0))
    await asyncio.to_thread(cluster.mend)


def come_or_go(processor: Program, chosen: random.Random) -> None:
    """Start a processor that does not run; end or kill one that does."""
    if not runs(processor):
        processor.launch()
    elif chosen.random() < 0.5:
        processor.kill()
    else:
        # Told before it can listen to signals, it dies of it.
        assert processor.end() in {0, -signal.SIGTERM}, processor.said()[-2000:]


async def lose_commits(stage: Stage) -> None:
    """The processors die, and nothing they committed is left."""
    await kill_processors(stage.cluster)
    stage.cluster.forget_commits()
    await asyncio.to_thread(stage.cluster.start_programs)


async def move_commits_back(stage: Stage) -> None:
    """The processors die, and a stale commit is the last one."""
    cluster = stage.cluster
    await kill_processors(cluster)
    await until_group_is_empty(cluster)
    if stale := await stale_positions(cluster, stage.chosen):  # none before the first commit
        await cluster.topic.move(stale, cluster.group)
    await asyncio.to_thread(cluster.start_programs)


async def stale_positions(cluster: Cluster, chosen: random.Random) -> dict[int, int]:
    """Somewhere between the earliest and the committed position of each partition."""
    committed = await cluster.topic.committed(cluster.group)
    ends = await cluster.topic.ends()
    return {
        partition: chosen.randint(min(ends[partition][0], position), position)
        for partition, position in committed.items()
    }


async def kill_processors(cluster: Cluster) -> None:
    for processor in cluster.processors:
        await asyncio.to_thread(processor.kill)


async def until_group_is_empty(cluster: Cluster) -> None:
    """Until the broker has given the dead members up; only then may offsets be moved."""
    for _ in range(200):
        if await cluster.topic.is_group_empty(cluster.group):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the group still has members")


async def change_schemas(stage: Stage) -> None:
    """A processor dies in a range, and whoever comes next judges its records otherwise."""
    cluster = stage.cluster
    folder = write_schemas(cluster.root / "schemas")
    for processor in cluster.processors:
        point = stage.chosen.choice([Point.EVENTS_INSERTED, Point.REJECTED_INSERTED])
        await asyncio.to_thread(die_at, processor, point, stage.chosen.randint(1, 3))
        processor.temporary.clear()
        processor.temporary["HEADRACE_SCHEMAS"] = str(folder)
        await asyncio.to_thread(processor.start)
    await asyncio.sleep(stage.chosen.uniform(1.0, 5.0))
    await asyncio.to_thread(cluster.mend)


def write_schemas(folder: Path, schema: Mapping[str, object] = CAREFUL) -> Path:
    """A folder of schemas that rejects some of the load's events, or what the given one does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scenario.json").write_text(json.dumps(schema))
    return folder


async def remake_topic(stage: Stage) -> None:
    """The topic is drained and made anew under its name, another log; before it or after it the
    collectors begin."""
    cluster = stage.cluster
    for collector in cluster.collectors:
        assert await asyncio.to_thread(collector.end) == 0
    await until_settled(cluster)
    for processor in cluster.processors:
        assert await asyncio.to_thread(processor.end) == 0
    await cluster.topic.delete()
    if stage.chosen.random() < 0.5:
        for collector in cluster.collectors:
            await asyncio.to_thread(collector.start)
        await stage.load.until_answer("503")
    await asyncio.to_thread(cluster.migrate)
    await asyncio.to_thread(cluster.start_programs)


async def begin_without_broker(stage: Stage) -> None:
    """A collector that begins while there is no broker: alive, not ready, and then ready."""
    cluster = stage.cluster
    collector = stage.chosen.choice(cluster.collectors)
    await asyncio.to_thread(cluster.broker.kill)
    await restart(collector)
    await stage.load.until_answer("503")
    assert (collector.status("/livez"), collector.status("/readyz")) == (200, 503)
    await asyncio.to_thread(cluster.broker.start)


async def flood(stage: Stage) -> None:
    """Somebody sends as much as he can, all of it of one device."""
    load = Load(
        stage.cluster.urls,
        stage.load.key,
        keyed=1,
        unkeyed=3,
        batch=250,
        first=stage.first_number(),
        seed=stage.chosen.randrange(1 << 32),
        make=flooding,
    )
    load.start()
    await asyncio.sleep(stage.chosen.uniform(2.0, 6.0))
    await load.stop()
    stage.load.merge(load)


async def fifty_at_once(stage: Stage) -> None:
    """Fifty requests with the same key at the same moment, while the broker is slow."""
    again = Again(stage.cluster.urls, stage.load.key, first=stage.first_number())
    await asyncio.to_thread(stage.cluster.to_broker.delay, stage.chosen.uniform(0.0, 1.0))
    await again.send_at_once(50)
    await asyncio.to_thread(stage.cluster.to_broker.pass_on)
    stage.load.accepted |= again.accepted


async def narrow_windows(stage: Stage) -> None:
    """The store remembers one token alone, dies in the middle of inserts, and processors do."""
    cluster = stage.cluster
    await asyncio.to_thread(set_windows, cluster, 1)
    for _ in range(stage.chosen.randint(1, 3)):
        await asyncio.sleep(stage.chosen.uniform(0.2, 2.0))
        victims = stage.chosen.sample([cluster.store, *cluster.processors], 2)
        for victim in victims:
            await asyncio.to_thread(victim.kill)
        await asyncio.sleep(stage.chosen.uniform(0.0, 2.0))
        await asyncio.to_thread(cluster.start_programs)
    await asyncio.to_thread(set_windows, cluster, WINDOW_BLOCKS)


def set_windows(cluster: Cluster, blocks: int) -> None:
    """Let each table of the store's remember the tokens of so many blocks."""
    with contextlib.closing(cluster.clickhouse(as_processor=True)) as client:
        for table in WINDOWED:
            client.command(
                f"ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = {blocks}"
            )


async def fill_store(stage: Stage) -> None:
    """No room on the store's disk for a while."""
    disk = stage.disks["store"]
    await asyncio.to_thread(disk.fill)
    await asyncio.sleep(stage.chosen.uniform(1.0, 10.0))
    await asyncio.to_thread(disk.make_room)


async def fill_broker(stage: Stage) -> None:
    """No room on the broker's disk: it ends, and is started again with room."""
    disk = stage.disks["broker"]
    await asyncio.to_thread(disk.fill)
    await asyncio.sleep(stage.chosen.uniform(1.0, 10.0))
    await asyncio.to_thread(disk.make_room)
    await asyncio.to_thread(stage.cluster.broker.kill)
    await asyncio.to_thread(stage.cluster.broker.start)


FAULTS: Final[Mapping[Fault, int]] = {
    kill: 8,
    die_between_steps: 4,
    freeze_processor: 3,
    freeze_broker: 1,
    disturb_network: 4,
    refuse_large: 1,
    forget_keys: 1,
    freeze_redis: 1,
    freeze_store: 2,
    freeze_control_data: 1,
    end_everything: 1,
    move_a_clock: 1,
    storm: 1,
    lose_commits: 1,
    move_commits_back: 2,
    change_schemas: 1,
    remake_topic: 1,
    begin_without_broker: 1,
    flood: 1,
    fifty_at_once: 1,
    narrow_windows: 2,
}
"""How often each of them happens, beside the others."""
DISK_FAULTS: Final[Mapping[Fault, int]] = {fill_store: 1, fill_broker: 1}


def name_of(fault: Fault) -> str:
    """What a fault is called where it is told."""
    return str(getattr(fault, "__name__", fault)).replace("_", " ")


def variables() -> dict[str, Any]:
    """Settings of a cluster that faults happen to: nothing that a fault does is a bad deploy."""
    return {"HEADRACE_BREAKER_SHARE": "0.9"}
