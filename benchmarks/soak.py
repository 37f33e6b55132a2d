"""Faults of every kind under load, for as long as asked; at the end, the account and the ledger.

`python -m benchmarks.soak [--minutes 10] [--seed N] [--out file]`: a cluster of real servers on
this machine (Kafka, Redis, PostgreSQL, the embedded store, two collectors, two processors) and a
steady load of about a hundred events a second. The seed decides which fault of
`tests/scenarios/faults.py` happens when. Ends with 1 if an event that was accepted is in no table
or in two, if a position of the log is, or if something did not come back by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from tests.scenarios.account import Account, find_gaps, take_account, until_settled
from tests.scenarios.cluster import Cluster, runs
from tests.scenarios.disks import SmallDisk, can_mount
from tests.scenarios.faults import (
    DISK_FAULTS,
    FAULTS,
    Fault,
    Stage,
    name_of,
    variables,
)
from tests.scenarios.load import Again, Load
from tests.services.postgres import PostgresServer

MEBIBYTE: Final = 1024 * 1024
REPEATED: Final = 20
"""Keyed requests that come again and again, to the end."""
BROKER: Final = {
    "log.segment.bytes": str(4 * MEBIBYTE),
    "log.index.size.max.bytes": "65536",
    "log.retention.bytes": str(32 * MEBIBYTE),
}


class Say:
    """Prints lines, and keeps them in a file where one was asked for."""

    def __init__(self, out: TextIO | None) -> None:
        self._out = out

    def __call__(self, line: str) -> None:
        print(line, flush=True)
        if self._out is not None:
            print(line, file=self._out, flush=True)


class Soak:
    """One run on a cluster that is ready."""

    def __init__(self, stage: Stage, workspace_id: str, say: Say) -> None:
        self._stage = stage
        self._workspace_id = workspace_id
        self._say = say
        self._happened: Counter[str] = Counter()
        self._troubles: list[str] = []
        self._again: list[Again] = []
        self._began = time.monotonic()

    async def run(self, seconds: float) -> bool:
        """Whether the account is true and everything came back."""
        load = self._stage.load
        load.start()
        telling = asyncio.create_task(self._tell())
        while time.monotonic() - self._began < seconds:
            await self._suffer(self._choose())
        telling.cancel()
        await asyncio.to_thread(self._stage.cluster.mend)
        await load.stop(120.0)
        for again in self._again:
            load.accepted |= again.accepted
        return await self._conclude()

    def _choose(self) -> Fault:
        faults = {**FAULTS, **(DISK_FAULTS if self._stage.disks else {})}
        return self._stage.chosen.choices(list(faults), weights=list(faults.values()))[0]

    async def _suffer(self, fault: Fault) -> None:
        """One fault; afterwards events are accepted again."""
        chosen = self._stage.chosen
        await asyncio.sleep(chosen.uniform(0.0, 3.0))
        self._happened[name_of(fault)] += 1
        try:
            await fault(self._stage)
            await self._stage.load.until_more(60.0)
            await self._repeat()
        except Exception as error:  # noqa: BLE001 - told, counted, and the soak goes on
            self._troubles.append(f"{self._clock()} {name_of(fault)}: {error}")
            self._say(f"TROUBLE: {self._troubles[-1]}\n{self._stage.cluster.said()}")
            await asyncio.to_thread(self._stage.cluster.mend)

    async def _repeat(self) -> None:
        """Requests of long ago come again under their keys."""
        stage = self._stage
        if len(self._again) < REPEATED:
            first = (len(self._again) + 1) << 32
            self._again.append(Again(stage.cluster.urls, stage.load.key, first=first))
        await stage.chosen.choice(self._again).send()
        await self._again[-1].send()

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(60.0)
            load = self._stage.load
            self._say(
                f"{self._clock()} {len(load.accepted):,} accepted, {len(load.unknown):,} unknown, "
                f"answers {dict(load.answers)}; {self._happened.total()} faults; "
                f"{self._mebibytes()}"
            )

    def _mebibytes(self) -> str:
        root = self._stage.cluster.root
        sizes = {
            name: sum(sizes_of(root / name)) // MEBIBYTE for name in ("kafka", "redis", "store0")
        }
        memory = [
            program.rss_bytes // MEBIBYTE
            for program in self._stage.cluster.programs
            if runs(program)
        ]
        return f"MiB on disk {sizes}, of memory {memory}"

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return f"{minutes:3d}:{seconds:02d}"

    async def _conclude(self) -> bool:
        cluster = self._stage.cluster
        await until_settled(cluster, 300.0)
        account = await take_account(cluster, self._workspace_id, self._stage.load)
        gaps = await find_gaps(cluster, logs=None)
        self._report(account, gaps)
        return account.is_true and not gaps and not self._troubles

    def _report(self, account: Account, gaps: list[str]) -> None:
        self._say(f"\nfaults: {dict(self._happened.most_common())}")
        ledger = self._stage.cluster.ledger()
        self._say(
            f"\nheadrace ledger (exit code {ledger.returncode}):\n{ledger.stdout}{ledger.stderr}"
        )
        self._say(f"positions missing or twice: {gaps or 'none'}")
        self._say(f"did not come back by itself: {self._troubles or 'nothing'}")
        for name in ("accepted", "unknown", "stored", "rejected", "deduplicated"):
            self._say(f"{name:>14} {getattr(account, name):>12,}")
        for name in ("missing", "doubled", "strange"):
            found_ids = getattr(account, name)
            self._say(f"{name:>14} {len(found_ids):>12,} {found_ids[:5] or ''}")


def sizes_of(folder: Path) -> Iterator[int]:
    """Bytes of the files below a folder; those that are gone by now, merged away, do not count."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                yield (Path(parent) / name).stat().st_size


async def soak(seconds: float, seed: int, say: Say) -> bool:
    """Start everything, run, and take it down."""
    chosen = random.Random(seed)
    root = Path(tempfile.mkdtemp(prefix="headrace-soak-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        postgres = PostgresServer.make()
        stack.callback(postgres.remove)
        postgres.start()
        cluster = Cluster(root, postgres.make_database(), broker_properties=BROKER, **variables())
        disks = _mount(stack, cluster)
        stack.callback(cluster.stop)
        await asyncio.to_thread(cluster.start)
        workspace, key = await asyncio.to_thread(cluster.workspace, "soak")
        load = Load(cluster.urls, key, keyed=3, unkeyed=2, batch=5, pause_seconds=0.2, seed=seed)
        stage = Stage(cluster, postgres, load, chosen, disks, min(60.0, seconds / 10))
        say(f"seed {seed}, {seconds / 60:.0f} minutes; disks that fill: {sorted(disks) or 'none'}")
        return await Soak(stage, workspace.id, say).run(seconds)


def _mount(stack: contextlib.ExitStack, cluster: Cluster) -> dict[str, SmallDisk]:
    if not can_mount():
        return {}
    return {
        "store": stack.enter_context(SmallDisk(cluster.store.home / "store", 1024)),
        "broker": stack.enter_context(SmallDisk(cluster.broker.root / "data", 512)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--out", type=Path, help="keep what is printed here, too")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing is left behind
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(asked.out.open("w")) if asked.out else None
        good = asyncio.run(soak(asked.minutes * 60, asked.seed, Say(out)))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
