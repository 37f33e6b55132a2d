"""One processor against two on the partitions of one topic: rows a second, and CPU for each.

`python -m benchmarks.scaleout [events]` (1,000,000): a broker of its own, twelve partitions. The
topic is filled with nobody there to read it; then one processor drains it, and two, six partitions
each, drain another. The rate is that between a quarter and nine tenths of the rows, when the group
has settled; CPU is that of the whole drain, the processes' start included, for ranges are prepared
well before they are written. The ceiling of two is twice what one did. Broker, store and
processors share the machine, so that fewer than four cores show little gain, and the CPU of an
event rises for want of caches. The embedded log has one processor.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
import psutil
from clickhouse_connect.driver.client import Client

from benchmarks.kept_tables import engine
from benchmarks.pipeline import fill
from benchmarks.programs import HEADRACE, Place, cpu_seconds, operator, prepared_home, running
from benchmarks.report import Line, report
from tests.services.kafka import KafkaServer

CORES: Final = 4
"""Two processors, the store and the broker each want one."""
FROM, TO = 0.25, 0.9
_PATIENCE_SECONDS: Final = 600


class Drained(msgspec.Struct, frozen=True):
    """Rows a second, and CPU of all processors and of the store for each, in microseconds."""

    per_second: float
    processor_us: float
    store_us: float


def drain(place: Place, processors: int, events: int) -> Drained:
    """Fill a topic of its own and let so many processors empty it."""
    name = f"headrace.scaleout.{processors}"
    place.environment.update(HEADRACE_KAFKA_TOPIC=name, HEADRACE_KAFKA_GROUP=name)
    subprocess.run([HEADRACE, "migrate"], env=place.environment, check=True, timeout=60)
    fill(place, events, path="readyz")
    with ExitStack() as stack:
        store = stack.enter_context(engine(place)).process
        client = operator(place)
        stack.callback(client.close)
        held = _count(client)
        started = [
            stack.enter_context(running([HEADRACE, "processor"], place.environment))
            for _ in range(processors)
        ]
        return _watch(client, held, events, started, store)


def _watch(
    client: Client,
    held: int,
    events: int,
    processors: list[psutil.Process],
    store: psutil.Process,
) -> Drained:
    stored = cpu_seconds(store)
    first = _wait(client, held, int(events * FROM))
    began = time.monotonic()
    last = _wait(client, held, int(events * TO))
    seconds, rows = time.monotonic() - began, last - first
    if not rows:
        raise SystemExit(f"{events:,} events are too few: they came in one block")
    assert _wait(client, held, events) == events, "more rows than events"
    cpu, store_cpu = _cpu(processors), cpu_seconds(store) - stored
    return Drained(rows / seconds, cpu / events * 1e6, store_cpu / events * 1e6)


def _wait(client: Client, held: int, rows: int) -> int:
    """How many rows there are beside those `held`, when there are so many at least."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (found := _count(client) - held) < rows:
        assert time.monotonic() < deadline, f"{found:,} of {rows:,} rows came in time"
        time.sleep(0.05)
    return found


def _count(client: Client) -> int:
    return int(client.query("SELECT count() FROM events_rows").result_rows[0][0])


def _cpu(processors: list[psutil.Process]) -> float:
    return sum(cpu_seconds(each) for each in processors)


def main() -> None:
    """Measure and report."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        KafkaServer(Path(folder)) as broker,
        prepared_home(HEADRACE_KAFKA=broker.bootstrap) as place,
    ):
        one, two = (drain(place, processors, events) for processors in (1, 2))
    cores = os.cpu_count() or 1
    enough = cores >= CORES
    report(
        "scaleout",
        [
            Line("one processor: rows", one.per_second, "rows/s"),
            Line(
                "two processors: rows",
                two.per_second,
                "rows/s",
                2 * one.per_second,
                ">= 90 %" if enough else "",
            ),
            Line("one processor: CPU per event", one.processor_us, "us"),
            Line("two processors: CPU per event", two.processor_us, "us", one.processor_us),
            Line("one processor: store CPU per event", one.store_us, "us"),
            Line("two processors: store CPU per event", two.store_us, "us", one.store_us),
        ],
    )
    if not enough:
        print(
            f"{cores} cores are too few to show the gain: two processors, the store and the broker "
            f"want {CORES}"
        )


if __name__ == "__main__":
    main()
