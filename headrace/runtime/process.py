"""The life of one of a node's processes: lock, log lines, signals, lifeline, event loop.

Owns how `headrace store|collector|processor` begin and end, alone or under a supervisor. What
they do in between is `wiring.py`'s.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
import uvloop

from headrace.runtime.child import EXIT_NEEDS_A_PERSON, READY
from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.home import Home, Lock, in_use, open_home
from headrace.runtime.logging import configure_logging
from headrace.runtime.metrics import BUILD
from headrace.runtime.settings import Settings
from headrace.runtime.version import describe_build, headrace_version
from headrace.schemas.errors import HeadraceError

LIFELINE_SECONDS: Final = 1.5
"""Without its supervisor a process may take this long to end by itself."""
_COLLECT_AFTER: Final = (20_000, 50, 100)
"""Objects, then collections, between two looks for garbage in cycles. There is little: requests and
records make none, and to look after every 700 objects, as Python does, cost 6 % of the CPU."""

log = structlog.get_logger(__name__)

Ready = Callable[[], None]
Work = Callable[[Settings, Home, Clock, asyncio.Event, Ready], Awaitable[None]]
"""Does a process's work until the event is set; calls `Ready` once it can be used."""


def run_process(
    name: str, settings: Settings, work: Work, *, supervised: bool, is_alone: bool = True
) -> int:
    """Run a process to its end; returns its exit code.

    `is_alone` if HOME can have one such process: it owns a file there, or belongs to a node.
    Raises `HeadraceError` if it cannot start; supervised, it logs that instead.
    """
    ending = Ending()
    if supervised:
        ending.follow_lifeline()
    try:
        _run(name, settings, work, ending, supervised=supervised, is_alone=is_alone)
    except HeadraceError as error:
        if not supervised:
            raise
        log.error(str(error))
        return EXIT_NEEDS_A_PERSON
    return 0


class Ending:
    """When a process is to end: told by a signal, or by the end of its lifeline."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def follow_lifeline(self) -> None:
        """End when standard input ends: the supervisor, which holds the other end, is gone."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()

    def attach(self, loop: asyncio.AbstractEventLoop, *, supervised: bool) -> asyncio.Event:
        """The event that is set when it is time to end."""
        self._loop, self._stop = loop, asyncio.Event()
        for each in (signal.SIGTERM,) if supervised else _ALL_SIGNALS:
            loop.add_signal_handler(each, self._stop.set)
        if self._told.is_set():
            self._stop.set()
        return self._stop

    def _watch(self) -> None:
        while os.read(0, 4096):
            pass
        self._told.set()
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        time.sleep(LIFELINE_SECONDS)
        os._exit(1)  # whatever it is busy with: what was promised is on disk


_ALL_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def _run(
    name: str,
    settings: Settings,
    work: Work,
    ending: Ending,
    *,
    supervised: bool,
    is_alone: bool,
) -> None:
    clock = SystemClock(settings.clock_offset_seconds)
    home = open_home(settings.home, version=headrace_version())
    configure_logging(name, level=settings.log_level, form=settings.log_format, file=home.log_file)
    lock = Lock.take(home.process_lock(name), clock.now()) if is_alone else None
    if lock is None and is_alone:
        raise in_use(home, home.process_lock(name))

    BUILD.labels(**describe_build(settings)).set(1)

    async def live() -> None:
        stop = ending.attach(asyncio.get_running_loop(), supervised=supervised)
        await work(settings, home, clock, stop, _say_ready if supervised else _note_ready)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(live())
    log.info("stopped")
    if lock is not None:
        lock.release()


def _note_ready() -> None:
    # What lives until the end need not be looked at by every collection.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    log.info("ready")


def _say_ready() -> None:
    _note_ready()
    sys.stdout.flush()
    os.write(1, READY)
    os.dup2(2, 1)  # whatever a library prints from now on is for the console
