"""The Kafka path: what a collector's events cost it, and how soon they are rows.

`python -m benchmarks.kafka [seconds]`. A broker of its own (`tests/services/kafka.py`) on this
machine, `acks=all`. First one `headrace collector` alone with the load generator: batches of 1,000
events at 16 connections, single events at 16, 64 and 256, beside a Starlette handler that decodes
and answers (batches) or only answers (singles). Then a node with two processors takes 1,000 events
a second, and for each the time from its answer to its row is taken by asking the store. Figures are
medians of their rounds; CPU is the collector's own, for batches also the least of the rounds, since
neighbours on the machine only add. At the end every accepted id must be in the table once.
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

import msgspec
import psutil

from benchmarks.collector import BATCH, ROUNDS, median
from benchmarks.freshness import Freshness, fresh_lines
from benchmarks.programs import HEADRACE, Measured, Place, measure, prepared_home, running
from benchmarks.report import Line, report
from benchmarks.requests import batches, singles
from tests.services.kafka import KafkaServer
from tests.services.ports import free_port

BATCH_CONNECTIONS: Final = 16
BATCH_ROUNDS: Final = 9
"""More than elsewhere: what the machine's neighbours do changes from one to the next, by half."""
SINGLE_CONNECTIONS: Final = (16, 64, 256)
RATE: Final = 1_000
FRESH_SECONDS: Final = 20


class Rounds(msgspec.Struct):
    """What one server did: batches, and singles by connections."""

    many: list[Measured]
    one: dict[int, list[Measured]]


def drive(server: psutil.Process, port: int, key: str, seconds: float) -> Rounds:
    """All loads, one after the other; every answer must be a 200."""
    measure(server, port, batches(key, 4), connections=4, seconds=2)
    many = [
        measure(server, port, batches(key), connections=BATCH_CONNECTIONS, seconds=seconds)
        for _ in range(BATCH_ROUNDS)
    ]
    one = {
        connections: [
            measure(server, port, singles(key), connections=connections, seconds=seconds)
            for _ in range(ROUNDS)
        ]
        for connections in SINGLE_CONNECTIONS
    }
    for each in (*many, *(measured for rounds in one.values() for measured in rounds)):
        assert set(each.load.answers) == {"200"}, each.load.answers
    return Rounds(many, one)


def ceiling(place: Place, seconds: float) -> Rounds:
    """Starlette alone."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.empty", str(port)]
    with running(command, place.environment, url=f"http://127.0.0.1:{port}/v1/events") as server:
        return drive(server, port, place.key, seconds)


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
        bare = ceiling(place, seconds)
        _prepare(place)
        with collector(place) as process:
            found = drive(process, place.port, place.key, seconds)
        _prepare(place, "headrace.fresh")
        fresh = freshness(place)
    what = f"answer to row at {RATE:,} events/s, two processors"
    report("kafka", [*_collector_lines(found, bare), *fresh_lines(what, fresh, "< 2,000")])


def _prepare(place: Place, topic: str = "headrace.events") -> None:
    import subprocess

    place.environment["HEADRACE_KAFKA_TOPIC"] = topic
    subprocess.run([HEADRACE, "migrate"], env=place.environment, check=True, timeout=60)


def _collector_lines(found: Rounds, bare: Rounds) -> list[Line]:
    def events(each: Measured) -> float:
        return each.per_second * BATCH

    def cpu(each: Measured) -> float:
        return each.cpu_us_per_request

    lines = [
        Line(
            "batches of 1,000: events",
            median(found.many, events),
            "events/s",
            median(bare.many, events),
            ">= 350,000",
        ),
        Line(
            "batches of 1,000: CPU per event",
            median(found.many, cpu) / BATCH,
            "us",
            median(bare.many, cpu) / BATCH,
            "<= 2.5",
        ),
        Line(
            f"batches of 1,000: CPU per event, least of {BATCH_ROUNDS} rounds",
            min(map(cpu, found.many)) / BATCH,
            "us",
            min(map(cpu, bare.many)) / BATCH,
            "<= 2.5",
        ),
        Line("batches of 1,000: p99", median(found.many, lambda m: m.load.p99) * 1e3, "ms"),
    ]
    for connections, rounds in found.one.items():
        what = f"singles at {connections} connections"
        lines += [
            Line(
                f"{what}: requests",
                median(rounds, lambda m: m.per_second),
                "requests/s",
                median(bare.one[connections], lambda m: m.per_second),
            ),
            Line(
                f"{what}: CPU per request",
                median(rounds, cpu),
                "us",
                median(bare.one[connections], cpu),
                "<= 40" if connections >= 64 else "",
            ),
            Line(
                f"{what}: p50",
                median(rounds, lambda m: m.load.p50) * 1e3,
                "ms",
                goal="< 5" if connections <= 16 else "",
            ),
        ]
    return lines


if __name__ == "__main__":
    main()
