"""Who may send: the API key of a request, and peers that keep failing.

Owns 401 and 403. Whoever presents a key that exists learns that it is expired or revoked, for
its holder must know; all others learn only that it is not valid. A peer that keeps failing gets
its refusals ever later; a good key is never slowed, wherever it comes from.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

from headrace.collector.answers import (
    EXPIRED_KEY,
    FORBIDDEN,
    INVALID_KEY,
    MISSING_KEY,
    REVOKED_KEY,
    Problem,
    Refusal,
    header_line,
)
from headrace.collector.requests import Incoming, Network, peer_of
from headrace.runtime.clock import Clock
from headrace.runtime.metrics import AUTH_FAILURES
from headrace.workspaces.port import ApiKey, Directory, Scope

LONGEST_DELAY_SECONDS: Final = 2.0
_LONGEST_KEY: Final = 256
_HOW: Final = "send the header `Authorization: Bearer hrk_…`"


class FailingPeers:
    """How long a peer's next refusal is held back: nothing at first, then longer and longer."""

    def __init__(
        self,
        *,
        free_failures: int = 10,
        forget_after_seconds: float = 60.0,
        max_peers: int = 10_000,
        max_waiting: int = 64,
    ) -> None:
        self._free_failures = free_failures
        self._forget_after = forget_after_seconds
        self._max_peers = max_peers
        self._max_waiting = max_waiting
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._waiting = 0

    def delay(self, peer: str, now: float) -> float:
        """Count a failure; returns the seconds its refusal should wait."""
        count, last = self._failures.pop(peer, (0, now))
        count = 1 if now - last > self._forget_after else count + 1
        self._failures[peer] = (count, now)
        if len(self._failures) > self._max_peers:
            self._failures.popitem(last=False)
        over = min(count - self._free_failures, 10)
        return 0.0 if over <= 0 else min(0.05 * 2**over, LONGEST_DELAY_SECONDS)

    async def hold_back(self, peer: str, now: float) -> None:
        """Count a failure and wait. Beyond a number of waiting requests nobody waits longer:
        a flood must not make us keep its connections."""
        seconds = self.delay(peer, now)
        if seconds == 0 or self._waiting >= self._max_waiting:
            return
        self._waiting += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._waiting -= 1

    def __len__(self) -> int:
        return len(self._failures)


class Authentication:
    """Finds the key of a request, or refuses it."""

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        *,
        trusted_proxies: Sequence[Network] = (),
        peers: FailingPeers | None = None,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._trusted = trusted_proxies
        self._peers = peers or FailingPeers()

    def key_of(self, request: Incoming, now: datetime) -> ApiKey | Refusal:
        """The valid key that the request presents, or why it presents none: see `hold_back`."""
        key = self._find(request.headers.get(b"authorization", b""), now)
        if isinstance(key, ApiKey):
            self._directory.note_use(key, now)
        return key

    async def hold_back(self, request: Incoming, refusal: Refusal) -> None:
        """Count the refusal, and wait before it is told if the peer keeps failing."""
        AUTH_FAILURES.labels(refusal.problem.error).inc()
        await self._peers.hold_back(peer_of(request, self._trusted), self._clock.monotonic())

    def _find(self, header: bytes, now: datetime) -> ApiKey | Refusal:
        presented = _read_usual(header) if len(header) <= _USUAL_BYTES else _read(header)
        if not presented:
            what = "Authorization names no API key" if header.strip() else "an API key is required"
            return _unauthorized(MISSING_KEY, f"{what}: {_HOW}")
        if len(presented) > _LONGEST_KEY:
            return _unauthorized(INVALID_KEY, f"that is not a key: {_HOW}")
        key = self._directory.find_key(presented)
        if key is None:
            return _unauthorized(INVALID_KEY, "the API key is not valid; check it, or make one")
        if key.revoked_at is not None:
            return _unauthorized(REVOKED_KEY, f"the API key {key.hint} was revoked; use another")
        if key.expires_at is not None and key.expires_at <= now:
            return _unauthorized(
                EXPIRED_KEY, f"the API key {key.hint} expired at {key.expires_at}; use another"
            )
        return key


def _read(header: bytes) -> str:
    """The key that an `Authorization` header presents; empty if it presents none."""
    scheme, _, presented = header.decode("latin-1").strip().partition(" ")
    return presented.strip() if scheme.lower() == "bearer" else ""


_USUAL_BYTES: Final = 128
_read_usual: Final = lru_cache(1_024)(_read)  # the same few come again and again


def check_scope(key: ApiKey, scope: Scope) -> None:
    """Raises `Refusal` if the key may not do this."""
    if scope not in key.scopes:
        raise Refusal(
            FORBIDDEN,
            f"the API key {key.hint} lacks the scope `{scope}`; it has: "
            f"{', '.join(sorted(key.scopes)) or 'none'}",
            headers=_challenge(f'error="insufficient_scope", scope="{scope}"'),
        )


def _unauthorized(problem: Problem, message: str) -> Refusal:
    error = "" if problem is MISSING_KEY else 'error="invalid_token"'
    return Refusal(problem, message, headers=_challenge(error))


def _challenge(error: str) -> bytes:
    text = 'Bearer realm="headrace"' + (f", {error}" if error else "")
    return header_line(b"www-authenticate", text.encode())
