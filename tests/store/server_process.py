"""A store server in a process of its own, which a test may kill: `python -m …server_process`.

`StoreProcess` starts and ends it. The process prints its port, or why it cannot start.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from headrace.schemas.errors import HeadraceError
from headrace.store.server.app import serve_store
from headrace.store.server.limits import StoreLimits
from tests.store.server_fixture import StoreServer, test_directory


class Anywhere(msgspec.Struct, frozen=True):
    """A free port of this machine, or the one given."""

    host: str = "127.0.0.1"
    port: int = 0


class StoreProcess(StoreServer):
    """The server as a process; `kill` is kill -9, `stop` SIGTERM and the exit code."""

    def __init__(self, folder: Path, limits: StoreLimits | None = None) -> None:
        super().__init__(folder)
        self.limits = limits or StoreLimits()
        self.process: subprocess.Popen[str] | None = None
        self.exit_code: int | None = None

    def start(self) -> str:
        """Starts it, and returns its first line: the port, or a sentence."""
        limits = msgspec.json.encode(self.limits).decode()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.server_process", str(self.folder), limits],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert self.process.stdout is not None
        select.select([self.process.stdout], [], [], 60)
        line = self.process.stdout.readline().strip()
        self.port = int(line) if line.isdigit() else 0
        return line

    def __enter__(self) -> StoreProcess:
        assert self.start().isdigit()
        return self

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a crash ends it."""
        self._end(signal.SIGKILL)

    def wait(self) -> int:
        """Until it has ended; returns its exit code."""
        assert self.process is not None
        self.exit_code = self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.exit_code

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.wait()


async def _serve(folder: Path, limits: StoreLimits) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    await serve_store(
        folder, Anywhere(), test_directory(), limits, stop,
        on_ready=lambda port: print(port, flush=True),
    )  # fmt: skip


def main() -> None:
    try:
        asyncio.run(_serve(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=StoreLimits)))
    except HeadraceError as error:
        print(error, flush=True)
        sys.exit(1)


def wait_for(what: Callable[[], object], *, seconds: float = 30) -> None:
    """Until `what()` is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


if __name__ == "__main__":
    main()
