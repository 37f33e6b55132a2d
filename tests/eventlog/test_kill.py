"""`kill -9` of the writing process at random moments: what was acknowledged is there, whole."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

from headrace.eventlog.sqlite.appender import SqliteAppender
from headrace.runtime.clock import SystemClock
from tests.eventlog.adapters import batch
from tests.eventlog.sqlite_files import RESERVE_BYTES, settle_everything, stored

ROUNDS = 6


async def write_for_ever(folder: Path, run: str) -> None:
    """Append batches of 1 to 50 records, several at a time; print the name of each when stored."""
    appender = SqliteAppender.open(
        folder / "log.sqlite",
        positions=folder / "positions.sqlite",
        clock=SystemClock(),
        max_bytes=2**40,
        reserve_bytes=RESERVE_BYTES,
    )

    async def client(name: int) -> None:
        for number in range(1_000_000):
            size = 1 + (number * 7 + name) % 50
            label = f"{run}-{name}-{number}-{size}"
            await appender.append(batch(*[label.encode() + b" " + bytes(400)] * size))
            print(label, flush=True)

    await asyncio.gather(*(client(name) for name in range(4)))


def acknowledged_before_kill(folder: Path, run: str, seconds: float) -> list[str]:
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.eventlog.test_kill", str(folder), run],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    first = writer.stdout.readline()
    time.sleep(seconds)
    writer.kill()
    rest, _ = writer.communicate()
    # A line that was cut off by the kill says nothing for certain.
    return [line for line in (first + rest).split("\n")[:-1] if line.startswith(f"{run}-")]


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """After each of several kills every acknowledged batch is there, and each batch whole."""
    chance = random.Random(7)
    acknowledged: list[str] = []
    for number in range(ROUNDS):
        seconds = chance.uniform(0.0, 0.25)
        acknowledged += await asyncio.to_thread(
            acknowledged_before_kill, tmp_path, str(number), seconds
        )
    records = await stored(tmp_path)
    labels = [record.value.split(b" ")[0].decode() for record in records]
    assert [record.position for record in records] == list(range(1, len(records) + 1))
    assert set(acknowledged) <= set(labels)
    assert len(set(acknowledged)) >= ROUNDS
    index = 0
    while index < len(labels):
        size = int(labels[index].split("-")[-1])
        assert labels[index : index + size] == [labels[index]] * size
        index += size
    assert all(labels.count(label) == int(label.split("-")[-1]) for label in set(labels))


async def test_positions_go_on_after_kill_9_of_a_drained_log(tmp_path: Path) -> None:
    """Killed while it deleted what was settled, the log still never uses a position twice."""
    await asyncio.to_thread(acknowledged_before_kill, tmp_path, "a", 0.1)
    last = (await stored(tmp_path))[-1].position
    await settle_everything(tmp_path)
    await asyncio.to_thread(acknowledged_before_kill, tmp_path, "b", 0.3)
    fresh = [record for record in await stored(tmp_path) if record.value.startswith(b"b")]
    assert fresh[0].position == last + 1


if __name__ == "__main__":
    asyncio.run(write_for_ever(Path(sys.argv[1]), sys.argv[2]))
