"""What one collector takes when wrk asks as fast as it can, durable in the local log.

`python -m benchmarks.saturation [seconds]`: wrk (C, one thread) with `clients/wrk.lua`, batches of
1,000 events and singles at 16, 64 and 256 connections, against `headrace collector` and, as the
ceiling, against an empty Starlette handler. CPU is the server's own, over the events it took. With
256 batches under way the bodies are more than the collector holds at once (64 MiB): it refuses some
by 503, which is counted. At the end the node is started, and every event that was taken must be a
row.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec
import psutil

from benchmarks.programs import (
    HEADRACE,
    Place,
    cpu_seconds,
    operator,
    prepared_home,
    running,
)
from benchmarks.report import Line, report
from benchmarks.requests import batches, singles
from tests.services.ports import free_port

CONNECTIONS: Final = (16, 64, 256)
BATCH: Final = 1_000
SCRIPT: Final = Path(__file__).parent / "clients" / "wrk.lua"
_DRAIN_SECONDS: Final = 900


class Told(msgspec.Struct):
    """What wrk prints at its end. Times in seconds."""

    requests: int
    seconds: float
    refused: int
    broken: int
    p50: float
    p99: float

    @property
    def taken(self) -> int:
        return self.requests - self.refused


class Wrk(msgspec.Struct):
    """wrk against one server; `bodies` are files by path of the request."""

    wrk: str
    key: str
    bodies: dict[str, list[str]]

    def drive(self, port: int, path: str, connections: int, seconds: float) -> Told:
        """Send for so many whole seconds; every request must be answered."""
        url = f"http://127.0.0.1:{port}{path}"
        load = ["-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s"]
        done = subprocess.run(
            [self.wrk, *load, "--timeout", "30s", "-s", str(SCRIPT), url, "--", *self.bodies[path]],
            env={"HEADRACE_KEY": self.key},
            stdout=subprocess.PIPE,
            check=True,
            timeout=seconds + 60,
        )
        told = msgspec.json.decode(done.stdout.splitlines()[-1], type=Told)
        assert told.broken == 0, told
        assert told.taken > 0, told
        return told


def find_wrk() -> str:
    """Its path, or the program ends saying how to have it."""
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit(
            "wrk is not installed: `apt-get install wrk` (Debian) or https://github.com/wg/wrk"
        )
    return found


def write_bodies(key: str, folder: Path) -> dict[str, list[str]]:
    """Files with the bodies of the benchmarks' requests, by path."""
    found: dict[str, list[str]] = {}
    for path, requests in (
        ("/v1/batch/events", batches(key)),
        ("/v1/events", singles(key, 200)),
    ):
        for number, request in enumerate(requests):
            file = folder / f"{path.count('/')}-{number}.json"
            file.write_bytes(request.partition(b"\r\n\r\n")[2])
            found.setdefault(path, []).append(str(file))
    return found


class Taken(msgspec.Struct):
    """What a server did under one load. CPU in microseconds."""

    per_second: float
    cpu_us: float
    p99: float
    refused_share: float


def drive(
    server: psutil.Process, port: int, wrk: Wrk, seconds: float
) -> tuple[dict[tuple[str, int], Taken], int]:
    """All loads, one after the other; and how many events were answered."""
    found, events = {}, 0
    for path, size in (("/v1/batch/events", BATCH), ("/v1/events", 1)):
        events += wrk.drive(port, path, 16, 1).taken * size
        for connections in CONNECTIONS:
            before = cpu_seconds(server)
            told = wrk.drive(port, path, connections, seconds)
            cpu = (cpu_seconds(server) - before) / (told.taken * size) * 1e6
            rate = told.taken * size / told.seconds
            found[path, connections] = Taken(rate, cpu, told.p99, told.refused / told.requests)
            events += told.taken * size
    return found, events


def ceiling(place: Place, wrk: Wrk, seconds: float) -> dict[tuple[str, int], Taken]:
    """The empty handler."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.empty", str(port)]
    with running(command, place.environment, url=f"http://127.0.0.1:{port}/v1/events") as server:
        return drive(server, port, wrk, seconds)[0]


def check(place: Place, answered: int) -> None:
    """Every event that was answered is a row. wrk leaves requests behind that it had sent: their
    events are rows, too, a batch for each connection of a load at most."""
    unheard = sum(CONNECTIONS, 16) * (BATCH + 1)
    url = f"http://127.0.0.1:{place.store_port}/ping"
    with running([HEADRACE, "up"], place.environment, url=url):
        client = operator(place)
        deadline = time.monotonic() + _DRAIN_SECONDS
        held = seen = 0
        while time.monotonic() < deadline:
            held = int(client.query("SELECT count() FROM events_rows").result_rows[0][0])
            if held >= answered and held == seen:
                break
            seen = held
            time.sleep(2)
        client.close()
    assert answered <= held <= answered + unheard, (answered, held)


def main() -> None:
    """Measure and report."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    program = find_wrk()
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        prepared_home(HEADRACE_LOG_MAX_BYTES=str(64 << 30)) as place,
    ):
        wrk = Wrk(program, place.key, write_bodies(place.key, Path(folder)))
        bare = ceiling(place, wrk, seconds)
        url = f"http://127.0.0.1:{place.port}/livez"
        with running([HEADRACE, "collector"], place.environment, url=url) as server:
            found, events = drive(server, place.port, wrk, seconds)
        check(place, events)
    lines = []
    for (path, connections), taken in found.items():
        top = bare[path, connections]
        what = "batches of 1,000" if path.startswith("/v1/batch") else "singles"
        what = f"{what} at {connections} connections"
        lines += [
            Line(f"{what}: events", taken.per_second, "events/s", top.per_second),
            Line(f"{what}: CPU per event", taken.cpu_us, "us", top.cpu_us),
            Line(f"{what}: p99", taken.p99 * 1e3, "ms", top.p99 * 1e3),
            Line(f"{what}: refused", taken.refused_share * 100, "% of requests"),
        ]
    report("saturation", lines)


if __name__ == "__main__":
    main()
