"""The processor's side of the log on Kafka: partitions as the group assigns them.

Owns the assignments: a new one for each partition in each generation of the group, revoked
together before the next one begins (the protocol is eager), and again when the log is another.
What is said to the group is in `group.py`, what comes from the log in `fetching.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import structlog

from headrace.eventlog.kafka.group import Group, Member
from headrace.eventlog.kafka.options import KafkaOptions
from headrace.eventlog.port import Committed, Record
from headrace.runtime.clock import Clock
from headrace.schemas.errors import Fenced, Unavailable

_PAUSE_SECONDS: Final = 0.5
_MARGIN_SECONDS: Final = 2.0
"""Left of a rebalance for joining, when workers have taken all they may to end."""
_log = structlog.get_logger(__name__)


class KafkaMembership:
    """The port's `Membership` on one topic and group; one per processor process."""

    def __init__(self, options: KafkaOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._is_stopping = False
        self._held: list[KafkaAssignment] = []
        self._offered: deque[KafkaAssignment] = deque()
        self._orphan: KafkaAssignment | None = None
        self._changed = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._said = ""

    async def assignments(self) -> AsyncIterator[KafkaAssignment]:
        """Partitions as they are assigned; waits for brokers and topic as long as it takes.

        Raises `Fenced` when a worker released one without being asked: it would stay with this
        process, and nobody would work on it.
        """
        if self._running is None and not self._is_stopping:
            self._running = asyncio.create_task(self._run())
        while not self._is_stopping:
            if self._orphan is not None:
                raise Fenced(
                    f"partition {self._orphan.partition} of topic {self._options.topic} has no "
                    "worker any more; this process ends, and its successor starts afresh"
                )
            if self._offered:
                yield self._offered.popleft()
                continue
            self._changed.clear()
            await self._changed.wait()

    async def stop(self) -> None:
        self._is_stopping = True
        self._revoke_all()
        self._changed.set()
        await self._all_released(None)
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        while not self._is_stopping:
            try:
                group = await Group.open(self._options)
                self._say("")
                await self._belong_to(group)
            except Unavailable as error:
                self._say(str(error))
            except Exception as error:  # noqa: BLE001 - the loop decides: log, and begin anew
                if repr(error) != self._said:
                    _log.exception("the membership failed; joining anew")
                self._said = repr(error)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _belong_to(self, group: Group) -> None:
        """Be a member until the log is another one or there is trouble; leave nothing behind."""

        def assign(partitions: Sequence[int], member: Member) -> None:
            self._assign(group, partitions, member)

        group.join(assign, self._revoke)
        try:
            self._say(await group.watch())
        finally:
            self._revoke_all()
            # Their last commits may still come: the group is left after them.
            await self._all_released(self._release_seconds)
            await group.leave()

    def _assign(self, group: Group, partitions: Sequence[int], member: Member) -> None:
        if self._is_stopping:
            return
        self._held = [held for held in self._held if not held.released.is_set()]
        for partition in partitions:
            assignment = KafkaAssignment(group, partition, member, self._released)
            self._held.append(assignment)
            self._offered.append(assignment)
        self._changed.set()

    async def _revoke(self) -> None:
        """End every worker before the group is joined again, those that stay with us, too.

        A worker that does not end in time (its store does not answer) is left behind: its
        generation is over, so it commits nothing any more.
        """
        self._revoke_all()
        await self._all_released(self._release_seconds)

    @property
    def _release_seconds(self) -> float:
        return max(1.0, self._options.rebalance_seconds - _MARGIN_SECONDS)

    def _revoke_all(self) -> None:
        for assignment in self._offered:
            assignment.released.set()  # nobody ever saw it
        self._offered.clear()
        for assignment in self._held:
            assignment.revoke()

    async def _all_released(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for assignment in list(self._held):
                    await assignment.released.wait()

    def _released(self, assignment: KafkaAssignment) -> None:
        if not assignment.revoked.is_set() and not self._is_stopping:
            self._orphan = assignment
            self._changed.set()

    def _say(self, trouble: str) -> None:
        """Tell a trouble once, not at every try."""
        if trouble and trouble != self._said:
            _log.warning("the log cannot be read", topic=self._options.topic, why=trouble)
        self._said = trouble


class KafkaAssignment:
    """The port's `Assignment`: one partition in one generation of the group."""

    def __init__(
        self,
        group: Group,
        partition: int,
        member: Member,
        on_release: Callable[[KafkaAssignment], None],
    ) -> None:
        self._group = group
        self._partition = partition
        self._member = member
        self._on_release = on_release
        self._buffer = group.fetcher.attach(partition)
        self._revoked = asyncio.Event()
        self._settled_to = 0
        self._highest_end = 0
        self.released = asyncio.Event()

    @property
    def log_id(self) -> str:
        return self._group.log_id

    @property
    def partition(self) -> int:
        return self._partition

    @property
    def revoked(self) -> asyncio.Event:
        return self._revoked

    def revoke(self) -> None:
        self._revoked.set()
        self._buffer.changed.set()

    async def committed(self) -> Committed | None:
        found = await self._group.committed(self._partition)
        if found is not None:
            self._settled_to = max(self._settled_to, found.position)
        return found

    async def ends(self) -> tuple[int, int]:
        earliest, end = await self._group.ends(self._partition)
        # A new leader may know less of what is confirmed than the old one for a moment.
        self._highest_end = max(self._highest_end, end)
        return earliest, self._highest_end

    async def read(
        self, position: int, *, max_records: int, max_bytes: int, wait_seconds: float
    ) -> Sequence[Record]:
        buffer = self._buffer
        buffer.seek(position)
        self._group.fetcher.wake()
        await self._wait(wait_seconds)
        if buffer.is_out_of_range:
            raise LookupError(await self._out_of_range(position))
        if not buffer.has_records:
            if buffer.trouble and not self._revoked.is_set():
                raise Unavailable(f"partition {self._partition}: {buffer.trouble}")
            return []
        found = await buffer.take(max_records, max_bytes)
        self._group.fetcher.wake()
        return found

    async def commit(self, committed: Committed) -> None:
        if committed.position < self._settled_to:
            raise Fenced(
                f"partition {self._partition} of log {self.log_id} is settled up to "
                f"{self._settled_to}; {committed.position} would go back"
            )
        # In a task of its own: cancelling the caller does not take it back.
        await asyncio.shield(asyncio.create_task(self._commit(committed)))

    async def release(self) -> None:
        self._group.fetcher.detach(self._buffer)
        self.released.set()
        self._on_release(self)

    async def _commit(self, committed: Committed) -> None:
        try:
            await self._group.commit(self._partition, committed, self._member)
        except Fenced:
            self.revoke()  # so that the partition, should it come back to us, is assigned anew
            raise
        self._settled_to = max(self._settled_to, committed.position)

    async def _wait(self, seconds: float) -> None:
        """Until there are records, trouble, the end of this assignment or of the patience."""
        buffer = self._buffer
        if buffer.has_records or seconds <= 0:
            return
        buffer.changed.clear()
        if not (self._revoked.is_set() or buffer.is_out_of_range):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await buffer.changed.wait()

    async def _out_of_range(self, position: int) -> str:
        where = f"position {position} of log {self.log_id} partition {self._partition}"
        try:
            earliest, end = await self.ends()
        except Unavailable:
            return f"{where} is not in the log"
        return f"{where} is not in [{earliest}, {end}]"
