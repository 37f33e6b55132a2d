"""A whole node on one machine: its three programs and its state file.

Owns what `headrace up` does between the checks before the start and the end: supervise, say
when everything is ready, end on a signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog

from headrace.runtime.child import Program
from headrace.runtime.clock import Clock
from headrace.runtime.home import Home
from headrace.runtime.node_state import NodeState, ProcessState, write_node_state
from headrace.runtime.settings import Settings
from headrace.runtime.supervisor import Supervisor
from headrace.runtime.version import headrace_version

# In the order of the data's dependence: stopped in reverse, so that the collector answers what
# it took, the processor settles what it read, and the store is there until the end.
GRACE_SECONDS: Final = {"store": 25.0, "processor": 10.0, "collector": 20.0}

log = structlog.get_logger(__name__)


def programs(settings: Settings) -> list[Program]:
    """The node's programs with their command lines; other settings come by environment."""
    options = (
        *("--home", str(settings.home), "--listen", str(settings.listen)),
        *("--store-listen", str(settings.store_listen), "--supervised"),
    )
    return [
        Program(name=name, command=(*_headrace(), name, *options), grace_seconds=grace)
        for name, grace in GRACE_SECONDS.items()
        if name != "store" or settings.has_embedded_store
    ]


class Node:
    """One life of a node: `run` starts everything and returns when everything has ended.

    It ends when `stop` is set, which signals do while it runs.
    """

    def __init__(self, settings: Settings, home: Home, clock: Clock, stop: asyncio.Event) -> None:
        self._settings = settings
        self._home = home
        self._clock = clock
        self._started_at = clock.now()
        self._supervisor = Supervisor(programs(settings), clock, self._write_state)
        self._stop = stop

    async def run(self, announce: Callable[[], None]) -> None:
        """Run until it is stopped; `announce` is called once when the node is ready. Starts nothing
        if it was stopped before.

        Raises `CannotStart` if one of the programs needs a person before it can start.
        """
        with self._told_by_signals():
            if self._stop.is_set():
                return
            ready = asyncio.create_task(self._announce(announce))
            try:
                await self._supervisor.run(self._stop)
            finally:
                ready.cancel()

    async def _announce(self, announce: Callable[[], None]) -> None:
        await self._supervisor.ready()
        announce()

    @contextlib.contextmanager
    def _told_by_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored under nohup
            signals.append(signal.SIGHUP)
        for each in signals:
            loop.add_signal_handler(each, self._told)
        try:
            yield
        finally:
            for each in signals:
                loop.remove_signal_handler(each)
                signal.signal(each, signal.SIG_IGN)  # it is ending already

    def _told(self) -> None:
        if self._stop.is_set():
            log.warning("told again; ending at once, what was accepted is on disk")
            self._supervisor.hurry()
            return
        log.info("ending")
        self._stop.set()

    def _write_state(self, processes: tuple[ProcessState, ...]) -> None:
        state = NodeState(
            pid=os.getpid(),
            version=headrace_version(),
            started_at=self._started_at,
            listen=self._settings.listen,
            store_listen=self._settings.store_listen,
            tls=self._settings.tls_certificate is not None,
            processes=processes,
        )
        try:
            write_node_state(self._home, state)
        except OSError as error:  # a full disk: `status` is behind, everything else goes on
            log.warning("the node's state cannot be written", why=str(error))


def _headrace() -> tuple[str, str]:
    """This very `headrace`, with this very interpreter."""
    script = Path(sys.argv[0]).absolute()
    if script.name != "headrace" or not script.exists():
        script = Path(sys.executable).parent / "headrace"
    return sys.executable, str(script)
