"""The durable log between collector and processor, as both see it.

This file owns the contract; adapters own how it is kept (`sqlite/` on one machine, `kafka/`
across several, `memory.py` as the shipped fake). Every adapter passes
`tests/contracts/test_eventlog.py`. The log knows nothing of HTTP or ClickHouse: records are
bytes to it.

Words: a *record* is one event; it lies at a *position* of a *partition*; a *batch* is what one
request appends; a log has a `log_id`, made anew with every log, so that positions of two logs
never meet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec


class NewRecord(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A record to append. `key` decides the partition and may be any bytes."""

    key: bytes
    value: bytes


class Batch(msgspec.Struct, frozen=True):
    """What one request appends: whole or not at all as far as the answer is concerned."""

    records: Sequence[NewRecord]
    headers: Mapping[str, bytes] = {}


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record as read: where it lies, when the log took it, and what it holds."""

    position: int
    key: bytes
    value: bytes
    headers: Mapping[str, bytes]
    appended_at: datetime


class KeyRecord(msgspec.Struct, frozen=True):
    """A small value kept under a key until it expires, committed with a batch.

    The value may have been emptied meanwhile (`b""`): then the key was used, and that is all.
    """

    key: bytes
    value: bytes
    expires_at: datetime


class Appender(Protocol):
    """The collector's side. One object per process; safe for any number of tasks."""

    @property
    def log_id(self) -> str:
        """The id of this log, hexadecimal; empty while a remote log was not reached yet."""
        ...

    def append(self, batch: Batch, *, key_record: KeyRecord | None = None) -> asyncio.Future[None]:
        """Make a batch durable; concurrent calls are grouped into one commit.

        When the future is done, every record survives `kill -9` of every process (and, embedded,
        loss of power; remote: as many replicas as the log demands), and `key_record`, where the
        adapter keeps keys, was committed in the same transaction. Records of one batch with equal
        keys keep their order.

        Its error is `Overloaded` (nothing was stored: disk full, bound reached, queue full, the
        log is not reached) or `Unavailable` (it may have been stored, whole or in part, and may
        be later: a remote log may take in what was sent after its caller gave up). A remote log
        answers within a limit of its own. Cancelling it does not undo it.
        """
        ...

    async def recall(self, key: bytes, now: datetime) -> KeyRecord | None:
        """The unexpired record kept under `key`, if this log keeps keys; else None.

        Sees every key of a batch whose append is done. Raises `Unavailable`.
        """
        ...

    async def keys_since(self) -> datetime:
        """Since when keys have been kept without a gap (a new log: its creation).

        A log that keeps no keys says now: it proves nothing about any.
        """
        ...

    def is_writable(self) -> bool:
        """Whether the last append (or a probe since) succeeded; feeds `/readyz`."""
        ...

    async def stop(self) -> None:
        """Commit what was handed over, then close. Waits at most a few seconds."""
        ...


class Committed(msgspec.Struct, frozen=True):
    """How far a partition is settled.

    Every record before `position` is settled. `pending_to`, if not None, is the last position
    of the range `[position, pending_to]` whose write had begun: a new owner repeats exactly it.
    """

    position: int
    pending_to: int | None = None


class Assignment(Protocol):
    """One partition, owned by one worker, from its assignment to its revocation."""

    @property
    def log_id(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def revoked(self) -> asyncio.Event:
        """Set when the worker must end: no insert retried, no commit begun after it."""
        ...

    async def committed(self) -> Committed | None:
        """What the last owner committed; None if nobody ever did (or it was lost)."""
        ...

    async def ends(self) -> tuple[int, int]:
        """`(earliest, end)`: the earliest position still held, and the one the next record
        will get. Positions are never reused, also not in a log drained and continued, and the
        end never goes back for one assignment. Raises `Unavailable`."""
        ...

    async def read(
        self, position: int, *, max_records: int, max_bytes: int, wait_seconds: float
    ) -> Sequence[Record]:
        """Records from `position` on, in order; waits up to `wait_seconds` for the first one.

        Empty when there is none yet; waits no longer once `revoked` is set. A remote log fetches
        ahead, and without waiting returns what has come: nothing does not mean the end. At least
        one record is returned when there is one, however large. Positions may have gaps. A record
        of a stranger without key or value has empty ones. Raises `Unavailable`; raises
        `LookupError` if `position` is before the earliest or after the end: the caller stops,
        loudly.
        """
        ...

    async def commit(self, committed: Committed) -> None:
        """Record how far the partition is settled; durable when it returns.

        Raises `Fenced` if the partition has another owner by now, or was taken from this one and
        may have (then `revoked` is set where it may come back: it is assigned anew), or if
        `committed.position` is before the position committed last. Raises `Unavailable` if it may
        not have been recorded, owners about to change included: repeating it is harmless.
        Cancelling the caller does not undo it.
        """
        ...

    async def release(self) -> None:
        """The worker has ended. Called once, always, after which nothing else is called."""
        ...


class Membership(Protocol):
    """The processor's side: this process as one of a group that shares the partitions."""

    def assignments(self) -> AsyncIterator[Assignment]:
        """Partitions as they are assigned to this process; ends after `stop`.

        Each assignment is released once. A partition that was released without having been
        revoked (its worker was fenced, or stopped loudly) is not assigned again: the process
        is expected to end, and its successor starts afresh. An adapter with which it would stay
        raises `Fenced` then, so that no partition is left without a worker.

        A worker that takes too long to release is left behind where others wait for its
        partition: its commits are `Fenced` from then on.
        """
        ...

    async def stop(self) -> None:
        """Revoke everything, wait for the workers to release, leave the group."""
        ...
