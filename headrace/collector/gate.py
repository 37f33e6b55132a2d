"""Who may come in: the rate limit and the idempotency keys, behind one port.

Owns the contract, and the adapter of one machine. The two are one port because what is shared by
many collectors must ask both in one round trip (`redis/gate.py`): when a request comes in, its
key is claimed together with its place under the limit, before there is a body to compare.
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime
from typing import Protocol

import msgspec

from headrace.collector.idempotency import Asked, Claimed, First, Kept, LocalKeys
from headrace.collector.limiting import Decision, Limiter
from headrace.eventlog.port import Appender, Batch
from headrace.runtime.clock import Clock


class Entry(msgspec.Struct):
    """One request at the gate. `first` while it holds the claim on its key."""

    decision: Decision
    key: bytes | None = None
    first: First | None = None


class Gate(Protocol):
    """Limits of all workspaces, keys of the last 24 hours. Safe for any number of tasks.

    Every request begins with `enter`. One with a key goes on with `claim`, and if that says
    `First` with `append`; whatever becomes of it, it ends with `leave`. None of them fails but
    `append`, and none waits longer than a moment for anybody but the log: without an answer the
    limit is counted here, and a request with a key is `First`, marked.
    """

    async def enter(
        self, workspace_id: str, limit: int, *, key: bytes | None = None, dry_run: bool = False
    ) -> Entry:
        """Count the request if it may pass: never more than `limit` in any 60 seconds, among
        all collectors. Those refused do not count and claim nothing, except in a dry run."""
        ...

    async def look(self, workspace_id: str, limit: int) -> Decision:
        """What `enter` would decide, without counting."""
        ...

    async def claim(self, entry: Entry, digest: bytes, now: datetime) -> Claimed:
        """Who comes with this key; `digest` is the body's.

        Atomic among all collectors: of concurrent requests with one key, one is `First`. It is
        unmarked only if it is proved that no other came within 24 hours.
        """
        ...

    def append(self, entry: Entry, batch: Batch, kept: Kept, now: datetime) -> Awaitable[None]:
        """Append the batch and keep the answer, both or neither where the log can do that.

        Raises what `Appender.append` does; the key is then free, and after `Unavailable`, or
        when cancelled, the next request with it is marked.
        """
        ...

    def leave(self, entry: Entry) -> None:
        """The request is over: what it claimed and did not use is free, as it was before."""
        ...


class LocalGate:
    """The adapter of one machine: limits in memory, keys in the log."""

    def __init__(self, log: Appender, clock: Clock) -> None:
        self._keys = LocalKeys(log)
        self._limiter = Limiter()
        self._clock = clock

    async def enter(
        self,
        workspace_id: str,
        limit: int,
        *,
        key: bytes | None = None,
        dry_run: bool = False,  # noqa: ARG002 - claims come later here, if the request goes on
    ) -> Entry:
        return Entry(self.enter_now(workspace_id, limit), key)

    def enter_now(self, workspace_id: str, limit: int) -> Decision:
        """`enter` for a request without a key: nobody else is asked, so nobody waits."""
        return self._limiter.take(workspace_id, limit, self._clock.monotonic())

    async def look(self, workspace_id: str, limit: int) -> Decision:
        return self._limiter.look(workspace_id, limit, self._clock.monotonic())

    async def claim(self, entry: Entry, digest: bytes, now: datetime) -> Claimed:
        assert entry.key is not None
        claimed = await self._keys.claim(Asked(entry.key, digest), now)
        if isinstance(claimed, First):
            entry.first = claimed
        return claimed

    def append(self, entry: Entry, batch: Batch, kept: Kept, now: datetime) -> Awaitable[None]:
        first, entry.first = entry.first, None
        assert first is not None
        return self._keys.append(first, batch, kept, now)

    def leave(self, entry: Entry) -> None:
        if entry.first is not None:
            self._keys.release(entry.first)
            entry.first = None
