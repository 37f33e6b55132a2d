"""Records on their way from the brokers to the workers, fetched ahead and bounded.

Owns one loop for each broker that leads partitions of ours: a fetch asks for all of them at once
and waits at the broker for the first record. Every partition has a buffer; one that is full is
left out until its worker has read. A buffer holds batches as they came (compressed), and turns
one at a time into records.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from headrace.eventlog.kafka.connection import RECORDS, Brokers
from headrace.eventlog.kafka.driver import errors
from headrace.eventlog.kafka.encoding import Fetched, decode, split
from headrace.eventlog.kafka.errors import describe
from headrace.eventlog.kafka.protocol import (
    INCONSISTENT_TOPIC_ID,
    UNKNOWN_TOPIC_ID,
    FetchRequest,
)
from headrace.eventlog.port import Record
from headrace.schemas.errors import HeadraceError, Unavailable

_WAIT_SECONDS: Final = 0.25
"""How long a fetch waits at the broker for a first record."""
_SHORT_WAIT_SECONDS: Final = 0.05
"""The same while a full buffer is left out: it wants to be in the next fetch soon."""
_BACKOFF_SECONDS: Final = 0.2
_FETCH_BYTES: Final = 16 * 1024 * 1024
_PARTITION_BYTES: Final = 4 * 1024 * 1024
_OUT_OF_RANGE: Final = 1
_OTHER_LOG: Final = frozenset({3, UNKNOWN_TOPIC_ID, INCONSISTENT_TOPIC_ID})


class Buffer:
    """What was fetched of one partition and not read yet."""

    def __init__(self, partition: int, max_bytes: int) -> None:
        self.partition = partition
        self.fetch_from: int | None = None
        """The next position to fetch; None until somebody reads."""
        self.is_out_of_range = False
        self.trouble = ""
        """Why the last fetch failed."""
        self.changed = asyncio.Event()
        self._max_bytes = max_bytes
        self._read_to = 0
        self._batches: deque[tuple[Fetched, int]] = deque()
        self._batches_bytes = 0
        self._records: list[Record] = []
        self._records_bytes = 0
        self._taken = 0

    @property
    def has_records(self) -> bool:
        return bool(self._taken < len(self._records) or self._batches)

    @property
    def is_read(self) -> bool:
        """Whether somebody waits for records of it, or will."""
        return self.fetch_from is not None and not self.is_out_of_range

    @property
    def wants_more(self) -> bool:
        return self.is_read and self._batches_bytes < self._max_bytes

    def seek(self, position: int) -> None:
        """Go on at `position`; what was fetched is kept if it follows."""
        if self.fetch_from is None or position != self._read_to:
            self._start_at(position)

    def add(self, fetched_from: int, records: bytes | None) -> None:
        """Take in an answer, unless somebody has gone elsewhere since it was asked for."""
        if fetched_from != self.fetch_from:
            return
        self.trouble = ""
        batches = split(records) if records else []
        if batches and records:
            # The bytes are free when the last batch of them is.
            sizes = [0] * (len(batches) - 1) + [len(records)]
            self._batches.extend(zip(batches, sizes, strict=True))
            self._batches_bytes += len(records)
            self.fetch_from = batches[-1][0].next_offset
            self.changed.set()

    def fail(self, fetched_from: int, trouble: str, *, is_out_of_range: bool = False) -> None:
        """Nothing could be fetched from there, for whoever still wants it."""
        if fetched_from == self.fetch_from:
            self.trouble = trouble
            self.is_out_of_range = is_out_of_range
            self.changed.set()

    async def take(self, max_records: int, max_bytes: int) -> list[Record]:
        """Records that are here, in order; one at least if there is one, however large."""
        taken: list[Record] = []
        while len(taken) < max_records:
            if self._taken == len(self._records):
                if not self._unpack():
                    break
                await asyncio.sleep(0)  # a batch takes a millisecond; others want their turn
            elif not self._take_into(taken, max_records, max_bytes):
                break
            else:
                max_bytes -= self._records_bytes
        if taken:
            self._read_to = taken[-1].position + 1
        return taken

    def _take_into(self, taken: list[Record], max_records: int, max_bytes: int) -> bool:
        """Move records over; whether all of the batch fitted, so that the next may, too."""
        if self._taken == 0 and self._fits(len(taken), max_records, max_bytes):
            taken += self._records
            self._taken = len(self._records)
            return True
        for record in self._records[self._taken : self._taken + max_records - len(taken)]:
            max_bytes -= len(record.key) + len(record.value)
            if taken and max_bytes < 0:
                break
            taken.append(record)
            self._taken += 1
        return False

    def _fits(self, count: int, max_records: int, max_bytes: int) -> bool:
        return self._records_bytes <= max_bytes and count + len(self._records) <= max_records

    def _unpack(self) -> bool:
        """Turn the next batch into records; False if there is none."""
        if not self._batches:
            return False
        batch, freed_bytes = self._batches.popleft()
        self._batches_bytes -= freed_bytes
        self._records, self._taken = [], 0
        try:
            self._records_bytes = decode(batch, self._read_to, self._records)
        except (HeadraceError, errors.KafkaError) as error:
            self._start_at(self._read_to)  # fetched again: it may have been damaged on its way
            raise Unavailable(
                f"partition {self.partition}: a batch cannot be read: {describe(error)}"
            ) from error
        return True

    def _start_at(self, position: int) -> None:
        self._batches.clear()
        self._records = []
        self._batches_bytes = self._records_bytes = self._taken = 0
        self._read_to = self.fetch_from = position
        self.is_out_of_range = False


class Fetcher:
    """Fills the buffers of one log's partitions."""

    def __init__(self, brokers: Brokers, topic_id: bytes, suspect: Callable[[], None]) -> None:
        """`suspect` is called when the brokers do not know the log (any more)."""
        self._brokers = brokers
        self._topic_id = topic_id
        self._suspect = suspect
        self._buffers: list[Buffer] = []
        self._turn = 0
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, partition: int) -> Buffer:
        """A buffer that is filled from where it is read, until it is detached."""
        buffer = Buffer(partition, self._brokers.options.max_buffered_bytes)
        self._buffers.append(buffer)
        return buffer

    def detach(self, buffer: Buffer) -> None:
        if buffer in self._buffers:
            self._buffers.remove(buffer)

    def wake(self) -> None:
        """Some buffer has room, or is read from elsewhere."""
        self._wake.set()

    async def run(self) -> None:
        """Fetch for ever."""
        busy: set[int] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                for node, buffers in self._wanted(busy).items():
                    busy.add(node)
                    fetch = tasks.create_task(self._fetch(node, buffers))
                    fetch.add_done_callback(partial(self._fetched, busy, node))
                await self._wake.wait()
                self._wake.clear()

    def _fetched(self, busy: set[int], node: int, _: asyncio.Task[None]) -> None:
        busy.discard(node)
        self._wake.set()

    def _wanted(self, busy: set[int]) -> Mapping[int, list[Buffer]]:
        wanted: dict[int, list[Buffer]] = defaultdict(list)
        for buffer in self._buffers:
            if buffer.wants_more:
                node = self._brokers.leader(buffer.partition)
                if node is None:
                    self._wake_later()
                elif node not in busy:
                    wanted[node].append(buffer)
        return wanted

    def _wake_later(self) -> None:
        """One timer at a time: each of them wakes, and whoever wakes would set another."""
        loop = asyncio.get_running_loop()
        if self._timer is None or self._timer.when() <= loop.time():
            self._timer = loop.call_later(_BACKOFF_SECONDS, self._wake.set)

    async def _fetch(self, node: int, buffers: Sequence[Buffer]) -> None:
        # The first partition asked for may exceed the limits, so each has its turn at being it.
        self._turn += 1
        turn = self._turn % len(buffers)
        asked = {
            buffer.partition: (buffer, buffer.fetch_from)
            for buffer in [*buffers[turn:], *buffers[:turn]]
            if buffer.fetch_from is not None
        }
        is_full = any(buffer.is_read and not buffer.wants_more for buffer in self._buffers)
        request = FetchRequest(
            self._topic_id,
            [(partition, position) for partition, (_, position) in asked.items()],
            max_wait_seconds=_SHORT_WAIT_SECONDS if is_full else _WAIT_SECONDS,
            max_bytes=_FETCH_BYTES,
            max_partition_bytes=_PARTITION_BYTES,
        )
        try:
            answer = await self._brokers.client.send(node, request, group=RECORDS)
        except (errors.KafkaError, OSError, NotImplementedError) as error:
            await self._failed(asked, dict.fromkeys(asked, describe(error)))
            return
        await self._answered(asked, answer)

    async def _answered(self, asked: Mapping[int, tuple[Buffer, int]], answer: Any) -> None:
        codes = dict.fromkeys(asked, answer.error_code) if answer.error_code else {}
        for _, partitions, _ in answer.topics:
            for partition, code, _, _, _, _, _, records, _ in partitions:
                buffer, position = asked[partition]
                if not code:
                    buffer.add(position, records)
                elif code == _OUT_OF_RANGE:
                    buffer.fail(position, _say(code), is_out_of_range=True)
                else:
                    codes[partition] = code
        if not _OTHER_LOG.isdisjoint(codes.values()):
            self._suspect()
        if codes:
            await self._failed(asked, {each: _say(code) for each, code in codes.items()})

    async def _failed(
        self, asked: Mapping[int, tuple[Buffer, int]], troubles: Mapping[int, str]
    ) -> None:
        """What could not be fetched; one pause for all of it, for it is everybody's."""
        for partition, trouble in troubles.items():
            buffer, position = asked[partition]
            buffer.fail(position, trouble)
        self._brokers.refresh()
        await asyncio.sleep(_BACKOFF_SECONDS)


def _say(code: int) -> str:
    known = errors.for_code(code)
    return describe(known()) if known is not errors.UnknownError else f"Kafka's error {code}"
