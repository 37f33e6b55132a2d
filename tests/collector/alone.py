"""A collector in a process of its own, on the SQLite log: prints port and key, ends at SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from headrace.collector.app import CollectorParts, build_app
from headrace.collector.server import ServerOptions, serve
from headrace.eventlog.sqlite.appender import SqliteAppender
from headrace.runtime.clock import SystemClock
from headrace.workspaces.memory import MemoryDirectory


async def run(folder: Path) -> None:
    clock = SystemClock()
    directory = MemoryDirectory(clock)
    key = directory.create_key(directory.create_workspace("default"))
    log = SqliteAppender.open(
        folder / "log.sqlite",
        positions=folder / "positions.sqlite",
        clock=clock,
        max_bytes=4 << 30,
    )
    app = build_app(
        CollectorParts(log=log, directory=directory, clock=clock, requests_per_minute=100_000)
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    def ready(_host: str, port: int) -> None:
        print(port, key, flush=True)

    await serve(app, ServerOptions(host="127.0.0.1", port=0), stop, ready)
    await log.stop()


if __name__ == "__main__":
    uvloop.run(run(Path(sys.argv[1])))
