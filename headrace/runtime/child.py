"""One program kept running: started, watched, started again when it dies, stopped in time.

Owns the process, its lifeline (a pipe on its standard input: when the supervisor is gone the
child reads the end and goes too) and its word on standard output, `ready`. Which programs there
are and in which order they stop is `supervisor.py`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from datetime import datetime
from typing import Final

import msgspec
import structlog

from headrace.runtime.clock import Clock
from headrace.runtime.node_state import ProcessState
from headrace.schemas.errors import HeadraceError

READY: Final = b"ready\n"
EXIT_NEEDS_A_PERSON: Final = 78
"""A child's exit code when starting it again would not help (`EX_CONFIG` of sysexits.h)."""
EXIT_CANNOT_RUN: Final = 127

QUICK_DEATH_SECONDS: Final = 5.0
RESTART_DELAYS: Final = (0.0, 0.0, 0.1, 0.2, 0.5, 0.5, 1.0, 1.0, 1.5, 1.5, 5.0, 10.0, 30.0)
"""Seconds before the restart after one, two, … quick deaths in a row: what is killed from outside
ten times in a row is back within two seconds each time, what kills itself is tried for ever."""
LOUD_AFTER_QUICK_DEATHS: Final = 4

log = structlog.get_logger(__name__)


class CannotStart(HeadraceError):
    """A program said at its first start that a person has to do something; it said what."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, and how long it may take to end when asked to."""

    name: str
    command: tuple[str, ...]
    grace_seconds: float


class Child:
    """Keeps one program running from `keep` until `stop`."""

    def __init__(
        self, program: Program, clock: Clock, changed: Callable[[], None], threads: Executor
    ) -> None:
        self.program = program
        self.ready = asyncio.Event()
        self._clock = clock
        self._changed = changed
        self._threads = threads
        self._stopping = asyncio.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at: datetime = clock.now()
        self._restarts = 0
        self._quick_deaths = 0
        self._last_code = 0
        self._died = ""
        self._was_ready = False

    def state(self) -> ProcessState:
        return ProcessState(
            name=self.program.name,
            pid=self._process.pid if self._process else None,
            started_at=self._started_at,
            ready=self.ready.is_set(),
            restarts=self._restarts,
            died=self._died,
        )

    async def keep(self) -> None:
        """Run the program, again whenever it ends, until `stop`. Raises `CannotStart`."""
        while not self._stopping.is_set():
            began = self._clock.monotonic()
            code = await self._live()
            if self._stopping.is_set():
                return
            if code == EXIT_NEEDS_A_PERSON and not self._was_ready:
                raise CannotStart(f"the {self.program.name} cannot start (it says why above)")
            await self._pause(code, self._clock.monotonic() - began)
            self._restarts += 1

    async def stop(self, hurry: asyncio.Event) -> None:
        """Ask the program to end; after its grace time, or when `hurry` is set, end it."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        deadline = self._clock.monotonic() + self.program.grace_seconds
        while self._process is not None:
            if hurry.is_set() or self._clock.monotonic() > deadline:
                log.warning("did not end in time; ended by force", name=self.program.name)
                process.kill()
                return
            await asyncio.sleep(0.02)

    async def _live(self) -> int:
        try:
            process = self._start()
        except OSError as error:  # no memory, no process ids: tried again like a death
            log.error("cannot be started", name=self.program.name, why=str(error))
            return EXIT_CANNOT_RUN
        self._process = process
        self._started_at = self._clock.now()
        self._changed()
        log.info("started", name=self.program.name, pid=process.pid)
        with self._listening(process):
            code = await asyncio.get_running_loop().run_in_executor(self._threads, process.wait)
        with contextlib.suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr] # a pipe, as asked for in _start
        self._process = None
        self._died = _how(code)
        self.ready.clear()
        self._changed()
        return code

    def _start(self) -> subprocess.Popen[bytes]:
        with _signals_of_the_terminal_blocked():
            return subprocess.Popen(
                self.program.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )

    @contextlib.contextmanager
    def _listening(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Note when the program says that it is ready; it says nothing else there."""
        loop = asyncio.get_running_loop()
        output = process.stdout
        assert output is not None

        def heard() -> None:
            said = os.read(output.fileno(), 4096)
            if READY.strip() in said:
                self.ready.set()
                self._was_ready = True
                self._changed()
            if not said:
                loop.remove_reader(output.fileno())

        loop.add_reader(output.fileno(), heard)
        try:
            yield
        finally:
            loop.remove_reader(output.fileno())
            output.close()

    async def _pause(self, code: int, lived_seconds: float) -> None:
        quick = lived_seconds < QUICK_DEATH_SECONDS
        self._quick_deaths = self._quick_deaths + 1 if quick else 0
        delay = RESTART_DELAYS[min(self._quick_deaths, len(RESTART_DELAYS)) - 1] if quick else 0.0
        if code == self._last_code == EXIT_NEEDS_A_PERSON:  # who has not come yet
            delay = RESTART_DELAYS[-1]
        self._last_code = code
        say = log.warning if self._quick_deaths < LOUD_AFTER_QUICK_DEATHS else log.error
        say(
            "died; starting it again"
            if self._quick_deaths < LOUD_AFTER_QUICK_DEATHS
            else "dies again and again; trying on, but a person should look at it",
            name=self.program.name,
            how=_how(code),
            lived_seconds=round(lived_seconds, 1),
            in_seconds=delay,
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


@contextlib.contextmanager
def _signals_of_the_terminal_blocked() -> Iterator[None]:
    """Children inherit the mask: Ctrl-C and a hang-up reach the supervisor alone, also while a
    child is still starting, and the supervisor ends them in order."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
