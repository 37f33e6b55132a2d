"""Waiting for neighbours: the same attempt again until it succeeds or the partition is revoked.

Owns the back-off, and what every worker waits for right now. Nothing is ever given up for a
neighbour's sake, so there is no limit of tries; but between two tries the worker must hear at
once that its partition was revoked. A retry library sleeps where no event can wake it, and so
this is a dozen lines of our own.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
import structlog

from headrace.runtime.clock import Clock
from headrace.runtime.metrics import RETRIES
from headrace.schemas.errors import HeadraceError, Overloaded, Refused, Unavailable

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")
_NUMBERS: Final = re.compile(r"\d+")


class Revoked(Exception):
    """The partition was taken from this worker: it ends, and nothing is wrong."""


class Backoff(msgspec.Struct, frozen=True):
    """How long to wait between tries: doubling, with jitter in `[0, 1)` over its upper half."""

    first_seconds: float = 0.05
    longest_seconds: float = 5.0
    jitter: Callable[[], float] = random.random

    def seconds(self, tries: int) -> float:
        """The wait after so many failed tries."""
        step = min(self.longest_seconds, self.first_seconds * 2.0 ** min(tries - 1, 30))
        return step * (0.5 + 0.5 * self.jitter())


class Wait(msgspec.Struct):
    """One step of one worker that is not done yet."""

    partition: int
    step: str
    began: float
    trouble: str = "no answer yet"
    told: str = ""
    """The trouble that was logged last, without its numbers."""


class Waits:
    """What the workers of a process are at: whoever asks how it is sees what is stuck."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waits: dict[int, Wait] = {}

    def begin(self, partition: int, step: str) -> Wait:
        wait = Wait(partition, step, self._clock.monotonic())
        self._waits[id(wait)] = wait
        return wait

    def end(self, wait: Wait) -> None:
        del self._waits[id(wait)]

    def longest(self) -> tuple[float, Wait | None]:
        """Seconds, and what has not been done for so long."""
        oldest = min(self._waits.values(), key=lambda wait: wait.began, default=None)
        return (0.0 if oldest is None else self._clock.monotonic() - oldest.began), oldest


class Patience:
    """One worker's way of waiting."""

    def __init__(
        self, revoked: asyncio.Event, backoff: Backoff, waits: Waits, partition: int
    ) -> None:
        self._revoked = revoked
        self._backoff = backoff
        self._waits = waits
        self._partition = partition

    def proceed(self) -> None:
        """Raises `Revoked` if the worker must end."""
        if self._revoked.is_set():
            raise Revoked

    async def pause(self, seconds: float) -> None:
        """Wait; raises `Revoked` if the worker must end meanwhile."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._revoked.wait(), seconds)
        self.proceed()

    async def insist(self, what: str, attempt: Callable[[int], Awaitable[_T]]) -> _T:
        """Call `attempt(tries so far)` until it succeeds; raises `Revoked` between two tries."""
        wait = self._waits.begin(self._partition, what)
        try:
            return await self._insist(wait, attempt)
        finally:
            self._waits.end(wait)

    async def _insist(self, wait: Wait, attempt: Callable[[int], Awaitable[_T]]) -> _T:
        tries = 0
        while True:
            self.proceed()
            try:
                result = await attempt(tries)
            except (Unavailable, Overloaded, Refused) as error:
                tries += 1
                wait.trouble = str(error)
                _report(wait, tries, error)
                await self._wait(tries, error)
                continue
            if tries:
                _log.info("succeeded after waiting", what=wait.step, failed_tries=tries)
            return result

    async def _wait(self, tries: int, error: HeadraceError) -> None:
        seconds = self._backoff.seconds(tries)
        if isinstance(error, Overloaded):
            seconds = max(seconds, min(error.retry_after, self._backoff.longest_seconds))
        await self.pause(seconds)


def _report(wait: Wait, tries: int, error: HeadraceError) -> None:
    """Count every wait; log a trouble when its kind is another, and
    what needs a person now and then."""
    RETRIES.labels(wait.step, type(error).__name__.lower()).inc()
    kind = _NUMBERS.sub("", str(error))
    if isinstance(error, Refused):
        # Data that cannot be stored and yet is no single row's fault: somebody must look.
        if tries & (tries - 1) == 0:
            _log.error("refused, trying again", what=wait.step, tries=tries, error=str(error))
    elif kind != wait.told:
        _log.warning("waiting", what=wait.step, tries=tries, error=str(error))
    wait.told = kind
