"""The log in memory: the shipped fake that tests and trials run on.

Owns nothing durable. It passes the same contract suite as the real logs, and adds what faults
need: a restart is a second `membership()` on the same log, `forget_commits()` loses what was
committed, `fail_appends()` breaks the appender, `drop_settled()` is retention on demand and
`replace()` puts a new log in this one's place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from copy import copy
from datetime import datetime
from uuid import uuid4
from zlib import crc32

from headrace.eventlog.port import Batch, Committed, KeyRecord, Record
from headrace.runtime.clock import Clock
from headrace.schemas.errors import Fenced, HeadraceError, Overloaded


class MemoryLog:
    """A log of some partitions, shared by any number of appenders and memberships."""

    def __init__(self, clock: Clock, *, partitions: int = 1) -> None:
        self.clock = clock
        self.appends = 0
        self._partition_count = partitions
        self._memberships: list[MemoryMembership] = []
        self._start_anew()

    def appender(self) -> MemoryAppender:
        """A collector's side; all of them write the same log."""
        return MemoryAppender(self)

    def membership(self) -> MemoryMembership:
        """A processor's side. The newest one to ask for assignments owns every partition.

        Older owners are not told, as a process that was frozen is not: they are fenced.
        """
        membership = MemoryMembership(self)
        self._memberships.append(membership)
        return membership

    def records(self, partition: int = 0) -> list[Record]:
        """What the partition still holds, in order."""
        return list(self.partitions[partition].records)

    def forget_commits(self) -> None:
        """Lose what was committed, as a broker does when offsets expire."""
        for partition in self.partitions:
            partition.committed = None

    def fail_appends(self, error: HeadraceError | None, *, stored: bool = False) -> None:
        """Make every append raise `error` until called with None.

        `stored` stores the batch nevertheless: what `Unavailable` may mean.
        """
        self.append_error, self.store_failed_appends = error, stored

    def drop_settled(self) -> None:
        """Retention: drop every record before the committed position."""
        for partition in self.partitions:
            if partition.committed is not None:
                partition.drop_before(partition.committed.position)

    def replace(self) -> None:
        """Put a new, empty log in this one's place; owners are revoked and assigned anew."""
        self._start_anew()
        for membership in self._memberships:
            membership.revoke_all()

    def store(self, batch: Batch, key_record: KeyRecord | None) -> None:
        """Take a batch in, whole."""
        now = self.clock.now()
        for record in batch.records:
            partition = self.partitions[crc32(record.key) % len(self.partitions)]
            partition.records.append(
                Record(partition.end, record.key, record.value, batch.headers, now)
            )
            partition.end += 1
        if key_record is not None:
            self.keys[key_record.key] = key_record
        for partition in self.partitions:
            partition.wake()

    def _start_anew(self) -> None:
        self.log_id = uuid4().hex
        self.created_at = self.clock.now()
        self.partitions = [_Partition() for _ in range(self._partition_count)]
        self.keys: dict[bytes, KeyRecord] = {}
        self.fail_appends(None)


class _Partition:
    """Records, the next position, who owns them and how far they are settled."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.end = 1
        self.epoch = 0
        self.committed: Committed | None = None
        self._changed = asyncio.Event()

    @property
    def earliest(self) -> int:
        return self.records[0].position if self.records else self.end

    def drop_before(self, position: int) -> None:
        self.records = [record for record in self.records if record.position >= position]

    def wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)


class MemoryAppender:
    """The port's `Appender` on a `MemoryLog`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._stopped = False

    @property
    def log_id(self) -> str:
        return self._log.log_id

    def append(self, batch: Batch, *, key_record: KeyRecord | None = None) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._append(batch, key_record))

    async def _append(self, batch: Batch, key_record: KeyRecord | None) -> None:
        await asyncio.sleep(0)  # A real log gives other tasks a turn here; so must its fake.
        if self._stopped:
            raise Overloaded("the log is closed; the collector is stopping")
        error = self._log.append_error
        if error is None or self._log.store_failed_appends:
            self._log.appends += 1
            self._log.store(batch, key_record)
        if error is not None:
            raise copy(error)

    async def recall(self, key: bytes, now: datetime) -> KeyRecord | None:
        await asyncio.sleep(0)
        found = self._log.keys.get(key)
        return found if found is not None and found.expires_at > now else None

    async def keys_since(self) -> datetime:
        return self._log.created_at

    def is_writable(self) -> bool:
        return self._log.append_error is None and not self._stopped

    async def stop(self) -> None:
        self._stopped = True


class MemoryMembership:
    """The port's `Membership` on a `MemoryLog`."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._held: list[MemoryAssignment] = []

    async def assignments(self) -> AsyncIterator[MemoryAssignment]:
        while not self._stopping.is_set():
            self._changed.clear()
            for partition in range(len(self._log.partitions)):
                if self._stopping.is_set():
                    return
                assignment = MemoryAssignment(self._log, partition)
                self._held.append(assignment)
                yield assignment
            await self._changed.wait()
            await self._all_released()

    def revoke_all(self) -> None:
        """End every worker; unless this membership stops, new assignments follow."""
        for assignment in self._held:
            assignment.revoke()
        self._changed.set()

    async def stop(self) -> None:
        self._stopping.set()
        self.revoke_all()
        await self._all_released()

    async def _all_released(self) -> None:
        held, self._held = self._held, []
        for assignment in held:
            await assignment.released.wait()


class MemoryAssignment:
    """The port's `Assignment` on one partition of a `MemoryLog`."""

    def __init__(self, log: MemoryLog, partition: int) -> None:
        self._held = log.partitions[partition]
        self._held.epoch += 1
        self._epoch = self._held.epoch
        self._log_id = log.log_id
        self._number = partition
        self._revoked = asyncio.Event()
        self.released = asyncio.Event()

    @property
    def log_id(self) -> str:
        return self._log_id

    @property
    def partition(self) -> int:
        return self._number

    @property
    def revoked(self) -> asyncio.Event:
        return self._revoked

    def revoke(self) -> None:
        self._revoked.set()
        self._held.wake()

    async def committed(self) -> Committed | None:
        return self._held.committed

    async def ends(self) -> tuple[int, int]:
        return self._held.earliest, self._held.end

    async def read(
        self, position: int, *, max_records: int, max_bytes: int, wait_seconds: float
    ) -> Sequence[Record]:
        if not self._held.earliest <= position <= self._held.end:
            raise LookupError(
                f"position {position} of log {self._log_id} partition {self._number} is not in "
                f"[{self._held.earliest}, {self._held.end}]"
            )
        if position == self._held.end and not self._revoked.is_set():
            await self._held.wait(wait_seconds)
        return self._from(position, max_records=max_records, max_bytes=max_bytes)

    def _from(self, position: int, *, max_records: int, max_bytes: int) -> list[Record]:
        found: list[Record] = []
        held_bytes = 0
        first = position - self._held.earliest
        for record in self._held.records[first : first + max_records]:
            held_bytes += len(record.key) + len(record.value)
            if found and held_bytes > max_bytes:
                break
            found.append(record)
        return found

    async def commit(self, committed: Committed) -> None:
        await asyncio.sleep(0)
        held = self._held.committed
        if self._epoch != self._held.epoch:
            raise Fenced(f"partition {self._number} of log {self._log_id} has another owner")
        if held is not None and committed.position < held.position:
            raise Fenced(
                f"partition {self._number} of log {self._log_id} is settled up to "
                f"{held.position}; {committed.position} would go back"
            )
        self._held.committed = committed

    async def release(self) -> None:
        self.released.set()
