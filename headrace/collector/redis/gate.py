"""The gate that many collectors share: limits and keys in Redis.

Owns what is asked when, and what happens without an answer. One round trip lets a request in,
limit and claim together; a second one keeps its answer. `docs/decisions/0007-redis.md` walks
through what may go wrong in between.

A collector that lets a request with a key in without asking Redis marks it, and has the epoch
renewed before it is heard by Redis again: until then nobody knows that this key was used.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable
from datetime import datetime
from typing import Final, Self

import msgspec

from headrace.collector.gate import Entry
from headrace.collector.idempotency import (
    Asked,
    Claimed,
    First,
    Kept,
    Mismatch,
    Replay,
    Running,
)
from headrace.collector.limiting import Decision, Limiter
from headrace.collector.redis import scripts
from headrace.collector.redis.address import read_redis_url
from headrace.collector.redis.line import Line, Reply, Talk, Unusable, pack
from headrace.eventlog.port import Appender, Batch
from headrace.runtime.clock import Clock
from headrace.runtime.metrics import GATE_DECISIONS, REDIS_FALLBACKS
from headrace.schemas.errors import Overloaded

PREFIX: Final = b"headrace:"
LEASE_SECONDS: Final = 60.0
"""A claim comes before the body: 30 s for that, 10 for the append, and some for waiting."""

_CONFIRM_SECONDS: Final = 5.0
_GATE_BYTES: Final = 8
_TAKE, _LOOK = (b"1", b"0"), (b"0", b"0")
_DRY: Final = (b"1", b"1")

_ASKED: Final = GATE_DECISIONS.labels("redis")
_ALONE: Final = GATE_DECISIONS.labels("local")


class _Entry(Entry):
    """`owner` while it may hold a claim; `found` is what Redis said of the key, if it did."""

    owner: bytes | None = None
    found: bytes = b""
    entered: float = 0.0


class RedisGate:
    """The port's `Gate` on a server that all collectors share. Needs a running event loop."""

    def __init__(
        self, url: str, log: Appender, clock: Clock, *, prefix: bytes, lease_seconds: float
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._log = log
        self._clock = clock
        self._limiter = Limiter()
        self._prefix = prefix
        self._epoch = prefix + b"epoch"
        self._collectors = prefix + b"collectors"
        self._lease_seconds = lease_seconds
        self._lease = b"%d" % int(lease_seconds * 1000)
        self._who = secrets.token_bytes(_GATE_BYTES)
        self._numbers = itertools.count()
        self._run = b""
        self._ahead_ms = 0
        self._alone = 0
        self._alone_told = 0
        self._line = Line(read_redis_url(url).connection, self._greet)
        self._confirming = asyncio.create_task(self._keep_confirming())

    @classmethod
    async def open(
        cls,
        url: str,
        log: Appender,
        clock: Clock,
        *,
        prefix: bytes = PREFIX,
        lease_seconds: float = LEASE_SECONDS,
    ) -> Self:
        """Connect, but do not insist: it comes back by itself. Raises `HeadraceError` for a URL
        that cannot be read. A claim lasts `lease_seconds`, which must cover body and append."""
        gate = cls(url, log, clock, prefix=prefix, lease_seconds=lease_seconds)
        await gate._line.first_try()
        return gate

    def is_reachable(self) -> bool:
        """Whether Redis is used right now. Requests are taken either way."""
        return self._line.is_up

    async def stop(self) -> None:
        """Take leave of Redis, if it listens, and hang up; within 50 ms or so."""
        self._confirming.cancel()
        await asyncio.wait([self._confirming])
        if self._line.is_up:
            await self._line.ask(
                scripts.CONFIRM, [self._epoch, self._collectors], self._confirmation(leaves=True)
            )
        await self._line.stop()

    async def enter(
        self, workspace_id: str, limit: int, *, key: bytes | None = None, dry_run: bool = False
    ) -> Entry:
        owner = None if key is None else self._owner()
        try:
            reply = await self._ask(workspace_id, limit, _DRY if dry_run else _TAKE, key, owner)
        except asyncio.CancelledError:
            if key is not None and owner is not None:
                self._settle(key, scripts.FREE, owner)
            raise
        if reply is None:
            # Refused here, it may have claimed its key there: `leave` gives that back.
            decision = self._limiter.take(workspace_id, limit, self._clock.monotonic())
            return _Entry(decision, key, owner=owner)
        if isinstance(reply, int):
            return _Entry(_decision(reply, limit), key)
        number, _, found = reply.partition(b":")
        if found not in (scripts.CLAIMED, scripts.CLAIMED_UNPROVED):
            owner = None
        return _Entry(
            _decision(int(number), limit),
            key,
            owner=owner,
            found=found,
            entered=self._loop.time(),
        )

    async def look(self, workspace_id: str, limit: int) -> Decision:
        reply = await self._ask(workspace_id, limit, _LOOK, None, None)
        if reply is None:
            return self._limiter.look(workspace_id, limit, self._clock.monotonic())
        return _decision(reply, limit)

    async def claim(self, entry: Entry, digest: bytes, now: datetime) -> Claimed:  # noqa: ARG002 - Redis has its own
        assert isinstance(entry, _Entry)
        assert entry.key is not None
        if entry.owner is not None:
            proved = entry.found == scripts.CLAIMED and self._holds(entry)
            entry.first = First(Asked(entry.key, digest), marked=not proved)
            return entry.first
        if entry.found == scripts.RUNNING:
            return Running()
        kept = msgspec.msgpack.decode(entry.found[1:], type=Kept)
        return Replay(kept) if kept.digest == digest else Mismatch()

    async def append(self, entry: Entry, batch: Batch, kept: Kept, now: datetime) -> None:  # noqa: ARG002
        assert isinstance(entry, _Entry)
        owner, entry.owner, entry.first = entry.owner, None, None
        assert owner is not None
        assert entry.key is not None
        if not entry.found:
            self._alone += 1
        outcome = scripts.UNCERTAIN
        appending = self._append(batch)
        del batch  # the log lets go of it as soon as it is encoded, if nobody else holds it
        try:
            await appending
            outcome = scripts.DONE
        except Overloaded:
            outcome = scripts.FREE
            raise
        finally:
            # Also when this task is cancelled: the append may go on without it.
            if outcome is not scripts.DONE:
                self._settle(entry.key, outcome, owner)
        await self._settle(entry.key, outcome, owner, msgspec.msgpack.encode(kept))

    def leave(self, entry: Entry) -> None:
        assert isinstance(entry, _Entry)
        if entry.owner is not None and entry.key is not None:
            self._settle(entry.key, scripts.FREE, entry.owner)
            entry.owner = entry.first = None

    async def _append(self, batch: Batch) -> None:
        if batch.records:
            appending = self._log.append(batch)
            del batch
            await appending

    def _settle(
        self, key: bytes, outcome: bytes, owner: bytes, kept: bytes = b""
    ) -> Awaitable[Reply]:
        return self._line.tell(
            scripts.SETTLE, [self._prefix + b"key:" + key], [outcome, owner, kept]
        )

    async def _ask(
        self,
        workspace_id: str,
        limit: int,
        how: tuple[bytes, bytes],
        key: bytes | None,
        owner: bytes | None,
    ) -> Reply:
        keys = [self._prefix + b"window:" + workspace_id.encode(), self._epoch]
        words = [self._sent(), b"%d" % limit, *how]
        if key is not None and owner is not None:
            keys.append(self._prefix + b"key:" + key)
            words += (owner, self._lease, self._run)
        reply = self._timely(await self._line.ask(scripts.ENTER, keys, words))
        (_ALONE if reply is None else _ASKED).inc()
        return reply

    def _timely(self, reply: Reply) -> Reply:
        if reply == scripts.LATE:
            self._alone += 1  # Keys may have expired by a clock that jumped: they prove nothing.
            REDIS_FALLBACKS.labels("late").inc()
            self._line.drop("what was sent arrived late, or its clock jumped")
            return None
        return reply

    def _holds(self, entry: _Entry) -> bool:
        """Whether the lease still runs: a process may have been frozen since."""
        return self._loop.time() - entry.entered < self._lease_seconds

    def _owner(self) -> bytes:
        number = next(self._numbers) & 0xFFFFFFFF
        return self._who + number.to_bytes(scripts.OWNER_BYTES - _GATE_BYTES)

    def _sent(self) -> bytes:
        """Now, in Redis' time."""
        return b"%d" % (int(self._loop.time() * 1000) + self._ahead_ms)

    def _set_time(self, redis_ms: int) -> None:
        self._ahead_ms = redis_ms - int(self._loop.time() * 1000)

    async def _greet(self, talk: Talk) -> None:
        """Which run of which server this is, its time, our scripts; then who we are."""
        loads = [pack(b"SCRIPT", b"LOAD", script.source) for script in scripts.SCRIPTS]
        info, time, *loaded = await talk([pack(b"INFO", b"server"), pack(b"TIME"), *loads])
        for reply in (info, time, *loaded):
            if isinstance(reply, Exception):
                raise reply
        self._run = run_id(info)
        seconds, micros = time
        self._set_time(int(seconds) * 1000 + int(micros) // 1000)
        script, keys = scripts.CONFIRM, [self._epoch, self._collectors]
        alone = self._alone
        words = self._confirmation()
        (reply,) = await talk([pack(b"EVALSHA", script.sha, b"2", *keys, *words)])
        if isinstance(reply, Exception):
            raise reply
        if reply == scripts.LATE:
            raise Unusable("its clock does not stand still")
        self._alone_told = alone

    async def _keep_confirming(self) -> None:
        while True:
            await asyncio.sleep(_CONFIRM_SECONDS)
            if not self._line.is_up:
                continue
            alone = self._alone
            reply = self._timely(
                await self._line.ask(
                    scripts.CONFIRM, [self._epoch, self._collectors], self._confirmation()
                )
            )
            if reply is not None:
                self._alone_told = alone
                self._set_time(reply[0])

    def _confirmation(self, *, leaves: bool = False) -> list[bytes]:
        went_on_alone = self._alone != self._alone_told
        return [
            self._sent(),
            self._run,
            self._who,
            b"1" if went_on_alone else b"0",
            b"1" if leaves else b"0",
        ]


def run_id(info: bytes) -> bytes:
    """The id of a server's life, from `INFO server`; every start makes another."""
    for line in info.splitlines():
        if line.startswith(b"run_id:"):
            return line[len(b"run_id:") :].strip()
    raise Unusable("it does not tell its run_id (INFO server)")


def _decision(number: int, limit: int) -> Decision:
    """What `ENTER` packed into one number."""
    rest, allowed = divmod(number, 2)
    remaining, seconds = divmod(rest, 64)
    return Decision(bool(allowed), limit, remaining, seconds)
