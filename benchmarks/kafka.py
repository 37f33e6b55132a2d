"""The Kafka path: what a collector's events cost it, and how soon they are rows.

`python -m benchmarks.kafka [seconds]`. A broker of its own (`tests/services/kafka.py`) on this
machine, `acks=all`. First one `headrace collector` alone with the load generator: batches of 1,000
events at 16 connections, beside a Starlette handler that decodes and answers. Then a node with two
processors takes 1,000 events a second, and for each the time from its answer to its row is taken by
asking the store. Figures are medians of their rounds; CPU is the collector's own, also as the least
of the rounds, since neighbours on the machine only add. At the end every accepted id must be in the
table once. Single events are `benchmarks/singles.py`'s.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil

from benchmarks.collector import BATCH, median
from benchmarks.freshness import Freshness, fresh_lines
from benchmarks.programs import HEADRACE, Measured, Place, measure, prepared_home, running
from benchmarks.report import Line, report
from benchmarks.requests import batches
from tests.services.kafka import KafkaServer
from tests.services.ports import free_port

BATCH_CONNECTIONS: Final = 16
BATCH_ROUNDS: Final = 9
"""More than elsewhere: what the machine's neighbours do changes from one to the next, by half."""
RATE: Final = 1_000
FRESH_SECONDS: Final = 20


def drive(server: psutil.Process, port: int, key: str, seconds: float) -> list[Measured]:
    """Rounds of batches; every answer must be a 200."""
    measure(server, port, batches(key, 4), connections=4, seconds=2)
    rounds = [
        measure(server, port, batches(key), connections=BATCH_CONNECTIONS, seconds=seconds)
        for _ in range(BATCH_ROUNDS)
    ]
    for each in rounds:
        assert set(each.load.answers) == {"200"}, each.load.answers
    return rounds


@contextmanager
def empty(place: Place) -> Iterator[tuple[psutil.Process, int]]:
    """Starlette alone, and its port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.empty", str(port)]
    with running(command, place.environment, url=f"http://127.0.0.1:{port}/v1/events") as server:
        yield server, port


@contextmanager
def collector(place: Place) -> Iterator[psutil.Process]:
    """`headrace collector` alone, ready to take events."""
    url = f"http://127.0.0.1:{place.port}/readyz"
    with running([HEADRACE, "collector"], place.environment, url=url) as process:
        yield process


def freshness(place: Place) -> list[float]:
    """From the answer to the row, with the whole node on this machine."""
    url = f"http://127.0.0.1:{place.port}/readyz"
    with ExitStack() as stack:
        for command, where in (
            ("store", f"http://127.0.0.1:{place.store_port}/ping"),
            ("collector", url),
            ("processor", None),
            ("processor", None),
        ):
            stack.enter_context(running([HEADRACE, command], place.environment, url=where))
        time.sleep(10)  # the group has settled
        return asyncio.run(Freshness(place, RATE, FRESH_SECONDS).run())


def main() -> None:
    """Measure and report."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        KafkaServer(Path(folder)) as broker,
        prepared_home(HEADRACE_KAFKA=broker.bootstrap) as place,
    ):
        with empty(place) as (process, port):
            bare = drive(process, port, place.key, seconds)
        prepare(place)
        with collector(place) as process:
            found = drive(process, place.port, place.key, seconds)
        prepare(place, "headrace.fresh")
        fresh = freshness(place)
    what = f"answer to row at {RATE:,} events/s, two processors"
    report("kafka", [*_collector_lines(found, bare), *fresh_lines(what, fresh, "< 2,000")])


def prepare(place: Place, topic: str = "headrace.events") -> None:
    """Make the topic, and have the programs use it."""
    import subprocess

    place.environment["HEADRACE_KAFKA_TOPIC"] = topic
    subprocess.run([HEADRACE, "migrate"], env=place.environment, check=True, timeout=60)


def _collector_lines(found: list[Measured], bare: list[Measured]) -> list[Line]:
    def events(each: Measured) -> float:
        return each.per_second * BATCH

    def cpu(each: Measured) -> float:
        return each.cpu_us_per_request

    return [
        Line(
            "batches of 1,000: events",
            median(found, events),
            "events/s",
            median(bare, events),
            ">= 350,000",
        ),
        Line(
            "batches of 1,000: CPU per event",
            median(found, cpu) / BATCH,
            "us",
            median(bare, cpu) / BATCH,
            "<= 2.5",
        ),
        Line(
            f"batches of 1,000: CPU per event, least of {BATCH_ROUNDS} rounds",
            min(map(cpu, found)) / BATCH,
            "us",
            min(map(cpu, bare)) / BATCH,
            "<= 2.5",
        ),
        Line("batches of 1,000: p99", median(found, lambda m: m.load.p99) * 1e3, "ms"),
    ]


if __name__ == "__main__":
    main()
