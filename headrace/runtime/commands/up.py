"""`headrace up`: the whole node on this machine, until it is told to end."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import ExitStack
from typing import Final

from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.credentials import Credentials
from headrace.runtime.home import Home, Lock, in_use, is_held, open_home
from headrace.runtime.logging import configure_logging
from headrace.runtime.node import GRACE_SECONDS, Node
from headrace.runtime.options import HomeOption, ListenOption, StoreListenOption
from headrace.runtime.preflight import check_machine
from headrace.runtime.settings import Settings, read_settings
from headrace.runtime.terminal import own_process_group
from headrace.runtime.version import headrace_version

LEFTOVERS_SECONDS: Final = 4.0
"""Processes whose supervisor was killed end by themselves within two seconds."""


def up(
    *,
    home: HomeOption = None,
    listen: ListenOption = None,
    store_listen: StoreListenOption = None,
) -> None:
    """Start the store, the collector and the processor here, and keep them running.

    The first start makes HOME with a workspace `default` and everything needed to get in. It
    ends on Ctrl-C and SIGTERM and loses nothing.
    """
    stop = asyncio.Event()
    _note_signals(stop)
    settings = read_settings(home=home, listen=listen, store_listen=store_listen)
    clock = SystemClock(settings.clock_offset_seconds)
    began = clock.monotonic()
    with ExitStack() as stack:
        stack.enter_context(own_process_group())
        place = open_home(settings.home, version=headrace_version())
        stack.callback(_take_lock(place, clock).release)
        _wait_for_leftovers(place, stop)
        check_machine(settings)
        configure_logging(
            "node", level=settings.log_level, form=settings.log_format, file=place.log_file
        )
        credentials = _complete_home(settings, place, clock)
        asyncio.run(_run(settings, place, clock, credentials, began, stop))


async def _run(
    settings: Settings,
    home: Home,
    clock: Clock,
    credentials: Credentials,
    began: float,
    stop: asyncio.Event,
) -> None:
    from headrace.runtime.banner import Banner
    from headrace.runtime.node_state import collector_url
    from headrace.runtime.preparing import Preparation, prepare_topic_beside

    def announce() -> None:
        Banner(
            settings=settings,
            home=home,
            credentials=credentials,
            collector_url=collector_url(settings),
            seconds=clock.monotonic() - began,
            now=clock.now(),
        ).print()

    preparing: asyncio.Task[None] | None = None
    if not settings.has_local_log:
        preparing = asyncio.create_task(prepare_topic_beside(Preparation(settings, home, clock)))
    try:
        await Node(settings, home, clock, stop).run(announce)
    finally:
        if preparing is not None:
            preparing.cancel()


def _complete_home(settings: Settings, home: Home, clock: Clock) -> Credentials:
    from headrace.runtime.first_start import complete_home
    from headrace.runtime.reach import control_url
    from headrace.workspaces.database import ControlData

    control = ControlData.open(control_url(settings), clock)
    try:
        return complete_home(home, control, settings)
    finally:
        control.close()


def _take_lock(home: Home, clock: Clock) -> Lock:
    lock = Lock.take(home.lock, clock.now())
    if lock is None:
        raise in_use(home, home.lock)
    return lock


def _wait_for_leftovers(home: Home, stop: asyncio.Event) -> None:
    deadline = time.monotonic() + LEFTOVERS_SECONDS
    for name in GRACE_SECONDS:
        while is_held(home.process_lock(name)) and not stop.is_set():
            if time.monotonic() > deadline:
                raise in_use(home, home.process_lock(name))
            time.sleep(0.05)


def _note_signals(stop: asyncio.Event) -> None:
    # To raise from a handler is no way out: in the middle of an import it becomes another error,
    # and some libraries swallow it.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stop.set())
