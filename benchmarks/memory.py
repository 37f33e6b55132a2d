"""How much memory a collector takes, whatever is sent to it.

`python -m benchmarks.memory [seconds]`: one collector, and after each other: good batches at 16
connections, bodies at the limit, bodies beyond it, bombs, deep nesting, one huge string, huge
headers. Each for some seconds at 32 connections. The figure is the highest resident size seen.
"""

from __future__ import annotations

import gzip
import sys
import threading
import time
from typing import Final

import msgspec
import psutil
import zstandard

from benchmarks.programs import HEADRACE, prepared_home, running, send
from benchmarks.report import Line, report
from benchmarks.requests import batches, http, make_event
from headrace.schemas.records import MAX_BODY_BYTES

CONNECTIONS: Final = 32
MEBIBYTE: Final = 1024 * 1024


class Watch:
    """Samples a process's resident size until told to stop."""

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self.highest = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            self.highest = max(self.highest, self.process.memory_info().rss)

    def take(self) -> int:
        """The highest since the last call."""
        highest, self.highest = self.highest, 0
        return highest

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def loads(key: str) -> dict[str, list[bytes]]:
    """What is sent, by name."""
    path = "/v1/batch/events"
    full = msgspec.json.encode(
        {"events": [{**make_event(n, _Same()), "pad": "x" * 9_900} for n in range(1_000)]}
    )
    assert len(full) <= MAX_BODY_BYTES
    keyed = [
        http(path, key, full, extra=f"Idempotency-Key: full-{number}\r\n") for number in range(8)
    ]
    bomb = b'{"events":[' + b" " * (256 * MEBIBYTE) + b"]}"
    return {
        "good batches of 1,000": batches(key, 10),
        "10 MiB bodies": [http(path, key, full)],
        "10 MiB bodies, keyed": keyed,
        "bodies beyond the limit": [http(path, key, b"[" + b" " * (11 * MEBIBYTE))],
        "gzip bombs of 256 MiB": [_coded(path, key, gzip.compress(bomb, 9), "gzip")],
        "zstd bombs of 256 MiB": [
            _coded(path, key, zstandard.ZstdCompressor(19).compress(bomb), "zstd")
        ],
        "10 MiB of brackets": [http(path, key, b"[" * (10 * MEBIBYTE - 8))],
        "one 10 MiB string": [
            http("/v1/events", key, b'{"event":"' + b"a" * (10 * MEBIBYTE - 64) + b'"}')
        ],
    }


class _Same:
    """A source of chance that always says the same; keeps the body the same size."""

    def randrange(self, stop: int, /) -> int:
        return stop - 1

    def getrandbits(self, bits: int, /) -> int:
        return (1 << bits) - 1


def _coded(path: str, key: str, body: bytes, coding: str) -> bytes:
    return http(path, key, body, extra=f"Content-Encoding: {coding}\r\n")


def main() -> None:
    """Measure and report."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    lines = []
    with prepared_home() as place:
        url = f"http://127.0.0.1:{place.port}/livez"
        with running([HEADRACE, "collector"], place.environment, url=url) as server:
            watch = Watch(server)
            time.sleep(0.5)
            lines.append(Line("idle", watch.take() / MEBIBYTE, "MiB"))
            for name, requests in loads(place.key).items():
                load = send(place.port, requests, connections=CONNECTIONS, seconds=seconds)
                highest = watch.take() / MEBIBYTE
                lines.append(Line(f"{name} {load.answers}", highest, "MiB", goal="< 200"))
            watch.stop()
    report("memory", lines)


if __name__ == "__main__":
    main()
