"""One batch to the collector, until it is judged: back-off, waiting, splitting.

Owns how long to wait and how often to try. What an answer means is `verdicts.py`'s.
"""

from __future__ import annotations

import asyncio
import gzip
import math
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, assert_never

import httpx2
import msgspec

from headrace.runtime.sending.batches import Batch
from headrace.runtime.sending.verdicts import (
    Again,
    Ended,
    EventError,
    Later,
    Split,
    Taken,
    Verdict,
    judge,
)
from headrace.schemas.errors import HeadraceError

ENDPOINT: Final = "/v1/batch/events"
_COMPRESSION_LEVEL: Final = 3
_SHORTEST_WAIT_SECONDS: Final = 0.1
"""Whoever says "at once" and refuses again is not asked without a pause."""


class SendingEnded(HeadraceError):
    """The rest cannot be sent as things are."""


class UnknownKey(SendingEnded):
    """The collector does not know the key, or not yet."""


class Target(msgspec.Struct, frozen=True):
    """Which collector, with which key."""

    url: str
    key: str
    endpoint: str = ENDPOINT
    local: bool = False
    """It is this very machine."""

    def __repr__(self) -> str:  # the key must not reach a log or a traceback
        return f"Target({self.url!r})"


class Backoff(msgspec.Struct, frozen=True):
    """Tries with no answer before giving up: about a minute, a restart takes seconds."""

    tries: int = 12
    first_seconds: float = 0.2
    longest_seconds: float = 10.0

    def delays(self) -> Iterator[float]:
        """Seconds before each further try, spread so that senders do not come at once."""
        for number in range(self.tries - 1):
            full = min(self.longest_seconds, self.first_seconds * 2**number)
            yield full * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret


class Gate:
    """Holds every worker back after "not now", until the time that was asked for."""

    def __init__(self, notice: Callable[[str | None], None]) -> None:
        self._notice = notice
        self._open_at = 0.0

    def close(self, seconds: float, reason: str) -> None:
        """Nobody passes for so long."""
        self._open_at = max(self._open_at, time.monotonic() + seconds)
        self._notice(f"{reason}: going on in {math.ceil(seconds)} s")

    async def wait(self) -> None:
        """Return when the gate is open."""
        waited = False
        while (seconds := self._open_at - time.monotonic()) > 0:
            waited = True
            await asyncio.sleep(seconds)
        if waited:
            self._notice(None)


class Delivery:
    """Delivers batches; safe for any number of tasks. Counts nothing, decides everything."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        target: Target,
        *,
        compress: bool = False,
        backoff: Backoff | None = None,
        notice: Callable[[str | None], None] = lambda _: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._target = target
        self._compress = compress
        self._backoff = backoff or Backoff()
        self._notice = notice
        self._sleep = sleep
        self._gate = Gate(notice)

    async def deliver(self, batch: Batch) -> list[tuple[Batch, Taken]]:
        """What the collector made of the batch, in pieces where it had to be split.

        Raises `SendingEnded` when no repeat would help, or none has for too long.
        """
        verdict = await self._until_judged(batch)
        if isinstance(verdict, Taken):
            return [(batch, verdict)]
        if len(batch.events) == 1:
            return [(batch, _refused_alone(verdict))]
        first, second = batch.halves()
        return await self.deliver(first) + await self.deliver(second)

    async def _until_judged(self, batch: Batch) -> Taken | Split:
        delays = self._backoff.delays()
        while True:
            await self._gate.wait()
            verdict = await self._post(batch)
            match verdict:
                case Taken() | Split():
                    return verdict
                case Ended(reason, unknown_key):
                    ended = UnknownKey if unknown_key else SendingEnded
                    raise ended(f"{self._target.url}: {reason}")
                case Later():
                    await self._hold(verdict)
                case Again(reason):
                    delay = next(delays, None)
                    if delay is None:
                        tries = self._backoff.tries
                        raise SendingEnded(f"{self._target.url}: {reason} ({tries} tries)")
                    self._notice(f"{reason}: trying again in {delay:.1f} s")
                    await self._sleep(delay)
                    self._notice(None)
                case _:
                    assert_never(verdict)

    async def _hold(self, later: Later) -> None:
        seconds = 1.0 if later.seconds is None else max(later.seconds, _SHORTEST_WAIT_SECONDS)
        if later.everyone:
            self._gate.close(seconds, later.reason)
        else:
            await self._sleep(seconds)

    async def _post(self, batch: Batch) -> Verdict:
        body = batch.body()
        headers = {
            "Authorization": f"Bearer {self._target.key}",
            "Content-Type": "application/json",
            "Idempotency-Key": batch.key,
        }
        if self._compress:
            body = gzip.compress(body, _COMPRESSION_LEVEL, mtime=0)
            headers["Content-Encoding"] = "gzip"
        try:
            return judge(
                await self._client.post(
                    self._target.url + self._target.endpoint, content=body, headers=headers
                )
            )
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.LocalProtocolError) as error:
            return Ended(f"cannot be sent to: {error}")
        except httpx2.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                return Ended(f"its certificate is not to be trusted: {error}")
            return Again(f"no answer ({error or type(error).__name__})")


def open_client(
    concurrency: int, verify: ssl.SSLContext | bool = True, *, direct: bool = False
) -> httpx2.AsyncClient:
    """A client for so many requests at once; redirects are not followed (a key goes along).

    `direct` ignores the environment's proxies: they do not lead back to this machine.
    """
    return httpx2.AsyncClient(
        verify=verify,
        trust_env=not direct,
        timeout=httpx2.Timeout(60.0, connect=5.0, pool=None),
        limits=httpx2.Limits(max_connections=concurrency),
        headers={"User-Agent": "headrace-send"},
    )


def _refused_alone(split: Split) -> Taken:
    return Taken(0, 1, [EventError(0, split.reason, split.code)])
