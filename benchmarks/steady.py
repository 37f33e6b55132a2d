"""Whether memory stays flat: collector and processor at full load for minutes.

`python -m benchmarks.steady [minutes] [connections]` (10, 8): a whole node takes batches of 1,000
as fast as its processor drains them: the load rests while more than two million events wait. Each
second the resident sizes are taken. Result: the highest, and how much they grow a minute, by least
squares over what comes after the first fifth. At the end every accepted event is in the table once.
"""

from __future__ import annotations

import collections
import sys
import threading
import time
from collections.abc import Sequence
from typing import Final

import psutil
from clickhouse_connect.driver.client import Client

from benchmarks.programs import HEADRACE, Place, operator, parts_of, prepared_home, running, send
from benchmarks.report import Line, report
from benchmarks.requests import batches

MEBIBYTE: Final = 1024 * 1024
BATCH: Final = 1_000
BURST_SECONDS: Final = 5.0
MOST_WAITING: Final = 2_000_000
WARM_SHARE: Final = 0.2
"""Of the time, at the beginning: caches fill, and it says nothing about growth."""
GOALS: Final = {"collector": "< 150", "processor": "< 300", "store": ""}
FLAT: Final = 1.0
"""MiB a minute."""
_SLICES: Final = 16
_DRAIN_SECONDS: Final = 900


class Sizes:
    """Samples the resident sizes of a node's processes each second until told to stop."""

    def __init__(self, parts: dict[str, psutil.Process], every_seconds: float = 1.0) -> None:
        self.samples: dict[str, list[tuple[float, float]]] = {name: [] for name in parts}
        self._parts = parts
        self._every = every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, list[tuple[float, float]]]:
        """Name → (minutes since the beginning, MiB), of each second."""
        self._stop.set()
        self._thread.join()
        return self.samples

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(self._every):
            at = (time.monotonic() - began) / 60
            for name, process in self._parts.items():
                self.samples[name].append((at, process.memory_info().rss / MEBIBYTE))


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """How much the second figure grows with the first, by least squares; 0 for one sample."""
    count = len(samples)
    mean_x = sum(x for x, _ in samples) / count
    mean_y = sum(y for _, y in samples) / count
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    if not spread:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread


def load(place: Place, client: Client, connections: int, seconds: float) -> int:
    """Send in bursts until time is up; how many events were accepted."""
    requests, accepted = batches(place.key), 0
    ends_at = time.monotonic() + seconds
    answers: collections.Counter[str] = collections.Counter()
    while (left := ends_at - time.monotonic()) > 0:
        if accepted - count(client) > MOST_WAITING:
            time.sleep(0.5)
            continue
        burst = min(BURST_SECONDS, left)
        sent = send(place.port, requests, connections=connections, seconds=burst)
        answers.update(sent.answers)
        accepted += sent.answers.get("200", 0) * BATCH
    assert set(answers) == {"200"}, answers
    return accepted


def count(client: Client) -> int:
    return int(client.query("SELECT count() FROM events_rows").result_rows[0][0])


def check(client: Client, accepted: int) -> None:
    """Every accepted event is a row, and only once; ids are counted slice by slice."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    while count(client) < accepted and time.monotonic() < deadline:
        time.sleep(0.5)
    different = sum(
        int(
            client.query(
                "SELECT uniqExact(event_id) FROM events_rows "
                f"WHERE cityHash64(event_id) % {_SLICES} = {number}"
            ).result_rows[0][0]
        )
        for number in range(_SLICES)
    )
    assert (count(client), different) == (accepted, accepted), (count(client), different, accepted)


def main() -> None:
    """Measure and report."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    connections = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    with prepared_home() as place:
        url = f"http://127.0.0.1:{place.port}/readyz"
        with running([HEADRACE, "up"], place.environment, url=url) as node:
            client = operator(place)
            sizes = Sizes(parts_of(node))
            began = time.monotonic()
            accepted = load(place, client, connections, minutes * 60)
            rate = accepted / (time.monotonic() - began)
            samples = sizes.stop()
            check(client, accepted)
            client.close()
    lines = [Line("accepted and found in the table", rate, "events/s")]
    for name, goal in GOALS.items():
        warm = samples[name][int(len(samples[name]) * WARM_SHARE) :]
        highest = max(size for _, size in samples[name])
        lines += [
            Line(f"{name}: highest", highest, "MiB", goal=goal),
            Line(f"{name}: growth", slope(warm), "MiB/minute", goal=f"< {FLAT:g}" if goal else ""),
        ]
    report("steady", lines)


if __name__ == "__main__":
    main()
