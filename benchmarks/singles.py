"""What an event that comes alone costs a collector on Kafka.

`python -m benchmarks.singles [seconds [rounds]]`. A broker of its own on this machine, `acks=all`;
one event a request, at 16, 64 and 256 connections. The collector and a Starlette handler that only
answers are measured in turn, each started anew for every round: what neighbours on the machine do,
and how a process happens to lie in memory, meets both. CPU is the server's own, as the median and
the least of the rounds, since neighbours only add.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

import psutil

from benchmarks.collector import median
from benchmarks.kafka import collector, empty, prepare
from benchmarks.programs import Measured, measure, prepared_home
from benchmarks.report import Line, report
from benchmarks.requests import batches, singles
from tests.services.kafka import KafkaServer

CONNECTIONS: Final = (16, 64, 256)
ROUNDS: Final = 5

Found = dict[int, list[Measured]]


def drive(server: psutil.Process, port: int, key: str, seconds: float, found: Found) -> None:
    """A round; every answer must be a 200."""
    measure(server, port, batches(key, 4), connections=4, seconds=1)
    for connections in CONNECTIONS:
        measured = measure(server, port, singles(key), connections=connections, seconds=seconds)
        assert set(measured.load.answers) == {"200"}, measured.load.answers
        found.setdefault(connections, []).append(measured)


def main() -> None:
    """Measure and report."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    found: Found = {}
    bare: Found = {}
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        KafkaServer(Path(folder)) as broker,
        prepared_home(HEADRACE_KAFKA=broker.bootstrap) as place,
    ):
        prepare(place)
        for _ in range(rounds):
            with collector(place) as process:
                drive(process, place.port, place.key, seconds, found)
            with empty(place) as (process, port):
                drive(process, port, place.key, seconds, bare)
    report("singles", [line for each in CONNECTIONS for line in _lines(each, found, bare)])


def _lines(connections: int, found: Found, bare: Found) -> list[Line]:
    def cpu(each: Measured) -> float:
        return each.cpu_us_per_request

    def rate(each: Measured) -> float:
        return each.per_second

    ours, theirs = found[connections], bare[connections]
    what = f"{connections} connections"
    goal = "<= 40" if connections >= 64 else ""
    p50 = median(ours, lambda each: each.load.p50) * 1e3
    return [
        Line(f"{what}: requests", median(ours, rate), "requests/s", median(theirs, rate)),
        Line(f"{what}: CPU per request", median(ours, cpu), "us", median(theirs, cpu), goal),
        Line(
            f"{what}: CPU per request, least of {len(ours)} rounds",
            min(map(cpu, ours)),
            "us",
            min(map(cpu, theirs)),
            goal,
        ),
        Line(f"{what}: p50", p50, "ms", goal="< 5" if connections <= 16 else ""),
    ]


if __name__ == "__main__":
    main()
