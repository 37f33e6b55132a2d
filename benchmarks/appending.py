"""How long it takes until events are on the disk: appends to the local log at a steady rate.

`python -m benchmarks.appending [events per second] [seconds]`: batches of 1,000 events at even
distances, each made durable before the next is due, beside a plain file that is written and
synced in the same way. What the disk takes by itself is most of the answer, so the two take turns:
a file's write lies between any two appends.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from benchmarks.programs import prepared_home
from benchmarks.report import Line, report
from benchmarks.requests import make_event
from headrace.collector.decode import read_batch
from headrace.collector.event_ids import UlidMaker
from headrace.collector.records import make_records
from headrace.eventlog.port import Assignment, Batch, Committed
from headrace.eventlog.sqlite.appender import SqliteAppender
from headrace.eventlog.sqlite.chunk import make_chunk, pack
from headrace.eventlog.sqlite.membership import SqliteMembership
from headrace.runtime.clock import SystemClock

RATE: Final = 50_000
SECONDS: Final = 20
BATCH: Final = 1_000
_DIFFERENT: Final = 8
"""Batches that take turns."""
_TIMER_SECONDS: Final = 0.002
"""By so much a sleep may last longer than it should."""
_SETTLE_SECONDS: Final = 0.25
"""What was appended is settled this often, as a processor does, so that its room is used again."""


def make_batches() -> Sequence[Batch]:
    """As the collector hands them to the log."""
    chance, ids, now = Random(5), UlidMaker(), SystemClock().now()
    made = []
    for number in range(_DIFFERENT):
        events = [make_event(number * BATCH + each, chance) for each in range(BATCH)]
        decoded = read_batch(msgspec.json.encode({"events": events}))
        made.append(Batch(make_records(decoded.events, ids.make(BATCH, now), "ws_bench", now)))
    return made


class PlainFile:
    """The ceiling: the same bytes, written behind each other and synced."""

    def __init__(self, path: Path, batches: Sequence[Batch]) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._contents = [pack(make_chunk(batch).body) for batch in batches]

    def append(self, number: int) -> None:
        """Blocks until it is on the disk."""
        os.write(self._file, self._contents[number % len(self._contents)])
        os.fdatasync(self._file) if hasattr(os, "fdatasync") else os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


async def settle(assignment: Assignment) -> None:
    """As a processor that keeps up, until cancelled."""
    while True:
        await asyncio.sleep(_SETTLE_SECONDS)
        _, end = await assignment.ends()
        await assignment.commit(Committed(end))


async def take_turns(folder: Path, rate: int, seconds: int) -> tuple[list[float], list[float]]:
    """Seconds of each append to the log, and of each write to the file, shortest first."""
    batches = make_batches()
    log, positions = folder / "log.sqlite", folder / "positions.sqlite"
    clock = SystemClock()
    appender = SqliteAppender.open(log, positions=positions, clock=clock, max_bytes=8 << 30)
    membership = SqliteMembership(log, positions, clock)
    assignment = await anext(membership.assignments())
    settling = asyncio.create_task(settle(assignment))
    plain = PlainFile(folder / "plain", batches)
    logged: list[float] = []
    written: list[float] = []
    began = time.perf_counter()
    for number in range(rate * seconds // BATCH):
        due = began + number * BATCH / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        at = min(time.perf_counter(), due + _TIMER_SECONDS)  # late is late, whoever was slow
        await appender.append(batches[number % len(batches)])
        logged.append(time.perf_counter() - at)
        at = time.perf_counter()
        await asyncio.to_thread(plain.append, number)
        written.append(time.perf_counter() - at)
    took = time.perf_counter() - began
    settling.cancel()
    await assignment.release()
    await membership.stop()
    await appender.stop()
    plain.close()
    print(f"{len(logged) * BATCH / took:,.0f} events/s were appended")
    return sorted(logged), sorted(written)


def main() -> None:
    """Measure and report."""
    rate = int(sys.argv[1]) if len(sys.argv) > 1 else RATE
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    with prepared_home() as place:
        folder = Path(place.environment["HEADRACE_HOME"]) / "appending"
        folder.mkdir()
        logged, written = asyncio.run(take_turns(folder, rate, seconds))
    middle, last = len(logged) // 2, int(len(logged) * 0.99)
    what = f"an append of {BATCH:,} at {rate:,} events/s"
    report(
        "appending",
        [
            Line(f"{what}: p50", logged[middle] * 1e3, "ms", written[middle] * 1e3),
            Line(f"{what}: p99", logged[last] * 1e3, "ms", written[last] * 1e3, "< 15"),
        ],
    )


if __name__ == "__main__":
    main()
