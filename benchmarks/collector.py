"""What one collector takes, durable in the local log, beside an empty Starlette handler.

`python -m benchmarks.collector [seconds]`: batches of 1,000 events at 8 connections and single
events at 64, against the ceiling and against `headrace collector`, each alone with the load
generator. Figures are medians of three rounds; CPU is the server process's own.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Final

import psutil

from benchmarks.programs import HEADRACE, Measured, Place, measure, prepared_home, running
from benchmarks.report import Line, report
from benchmarks.requests import batches, singles
from tests.services.ports import free_port

ROUNDS: Final = 3
BATCH: Final = 1_000
SINGLE_CONNECTIONS: Final = 64
BATCH_CONNECTIONS: Final = 8


def median(rounds: list[Measured], of: Callable[[Measured], float]) -> float:
    """The middle round, by one of its figures."""
    return statistics.median(of(each) for each in rounds)


def drive(
    server: psutil.Process, port: int, key: str, seconds: float
) -> tuple[list[Measured], list[Measured]]:
    """Rounds of singles, then rounds of batches; every answer must be a 200."""
    measure(server, port, singles(key, 200), connections=8, seconds=1)
    one = [
        measure(server, port, singles(key), connections=SINGLE_CONNECTIONS, seconds=seconds)
        for _ in range(ROUNDS)
    ]
    many = [
        measure(server, port, batches(key), connections=BATCH_CONNECTIONS, seconds=seconds)
        for _ in range(ROUNDS)
    ]
    for each in (*one, *many):
        assert set(each.load.answers) == {"200"}, each.load.answers
    return one, many


def ceiling(place: Place, seconds: float) -> tuple[list[Measured], list[Measured]]:
    """The empty handler."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.empty", str(port)]
    with running(command, place.environment, url=f"http://127.0.0.1:{port}/v1/events") as server:
        return drive(server, port, place.key, seconds)


def collector(place: Place, seconds: float) -> tuple[list[Measured], list[Measured]]:
    """`headrace collector` alone, its log on this machine's disk."""
    url = f"http://127.0.0.1:{place.port}/livez"
    with running([HEADRACE, "collector"], place.environment, url=url) as server:
        return drive(server, place.port, place.key, seconds)


def main() -> None:
    """Measure and report."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    with prepared_home(HEADRACE_LOG_MAX_BYTES=str(64 << 30)) as place:
        bare_one, bare_many = ceiling(place, seconds)
        one, many = collector(place, seconds)

    def events(each: Measured) -> float:
        return each.per_second * BATCH

    def cpu(each: Measured) -> float:
        return each.cpu_us_per_request

    report(
        "collector",
        [
            Line(
                "batches of 1,000, durable: events",
                median(many, events),
                "events/s",
                median(bare_many, events),
                ">= 150,000",
            ),
            Line(
                "batches of 1,000: CPU per event",
                median(many, cpu) / BATCH,
                "us",
                median(bare_many, cpu) / BATCH,
            ),
            Line("batches of 1,000: p99", median(many, lambda m: m.load.p99) * 1e3, "ms"),
            Line(
                "singles at 64 connections: requests",
                median(one, lambda m: m.per_second),
                "requests/s",
                median(bare_one, lambda m: m.per_second),
                ">= 50 %",
            ),
            Line("singles: CPU per request", median(one, cpu), "us", median(bare_one, cpu)),
            Line("singles: p50", median(one, lambda m: m.load.p50) * 1e3, "ms"),
            Line("singles: p99", median(one, lambda m: m.load.p99) * 1e3, "ms"),
        ],
    )


if __name__ == "__main__":
    main()
