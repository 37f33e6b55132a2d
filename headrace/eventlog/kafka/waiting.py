"""Records that were handed over and are not stored yet, in one lane for each partition.

Owns what belongs to one append, how batches are cut from a lane, and the count of bytes. A lane
has one batch on its way at a time; while it is, the records of other requests gather behind it,
so that a busy log writes few large batches and an idle one waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final
from zlib import crc32

from headrace.eventlog.kafka.encoding import (
    BATCH_OVERHEAD,
    RECORD_OVERHEAD,
    Headers,
    size_of,
    size_of_headers,
)
from headrace.eventlog.kafka.errors import RETRY_SECONDS
from headrace.eventlog.port import Batch, NewRecord
from headrace.schemas.errors import HeadraceError, Overloaded, Unavailable

GOOD_BATCH_BYTES: Final = 1024 * 1024
"""A batch takes no further records from here on: large enough, and quickly compressed."""


class Append:
    """One call of `append`: over when every part is stored, or one is not."""

    __slots__ = ("expires_at", "future", "is_over", "may_be_stored", "parts_left")

    def __init__(self, future: asyncio.Future[None], expires_at: float) -> None:
        self.future = future
        self.expires_at = expires_at
        self.parts_left = 0
        self.may_be_stored = False
        """A part of it is stored, or was given up without knowing."""
        self.is_over = False

    def part_stored(self) -> None:
        self.may_be_stored = True
        self.parts_left -= 1
        if self.parts_left == 0 and not self.is_over:
            self.is_over = True
            if not self.future.done():  # the caller may have been cancelled
                self.future.set_result(None)

    def fail(self, reason: str) -> None:
        """End it; what of it waits is not sent any more."""
        if not self.is_over:
            self.is_over = True
            if not self.future.done():
                self.future.set_exception(self.error(reason))

    def error(self, reason: str) -> HeadraceError:
        """What its caller is to hear: whether anything may have been stored decides."""
        if self.may_be_stored:
            return Unavailable(reason)
        return Overloaded(reason, retry_after=RETRY_SECONDS)


class Part:
    """The records of one append that go to one partition."""

    __slots__ = ("append", "headers", "records", "size")

    def __init__(
        self, append: Append, records: Sequence[NewRecord], headers: Headers, size: int
    ) -> None:
        self.append = append
        self.records = records
        self.headers = headers
        self.size = size
        append.parts_left += 1

    def cut(self, max_bytes: int) -> Part:
        """Take the first records off, one at least, that fit; itself if nothing would be left."""
        headers_bytes = size_of_headers(self.headers)
        count = size = 0
        for record in self.records:
            record_bytes = size_of(record, headers_bytes)
            if count and size + record_bytes > max_bytes:
                break
            count, size = count + 1, size + record_bytes
        if count == len(self.records):
            return self
        first = Part(self.append, self.records[:count], self.headers, size)
        self.records, self.size = self.records[count:], self.size - size
        return first


class Outgoing:
    """A batch on its way, and what is known of it."""

    __slots__ = ("first_sent_at", "is_in_doubt", "parts", "payload")

    def __init__(self, parts: Sequence[Part], now: float) -> None:
        self.parts = parts
        self.payload = b""
        self.first_sent_at = now
        self.is_in_doubt = False
        """It was sent, and nobody knows what became of it."""


class Lane:
    """What waits for one partition, and the batch on its way there."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.parts: deque[Part] = deque()
        self.outgoing: Outgoing | None = None
        self.is_busy = False
        """A try is under way. Another must not begin, nor the next batch: its answer counts for
        the batch that is there when it comes."""


class Waiting:
    """Every lane, and how many bytes they hold together."""

    def __init__(self, partitions: int, max_bytes: int) -> None:
        self.lanes = [Lane(partition) for partition in range(partitions)]
        self.held_bytes = 0
        self._max_bytes = max_bytes

    @property
    def is_empty(self) -> bool:
        return not any(lane.parts or lane.outgoing for lane in self.lanes)

    def add(self, batch: Batch, append: Append, max_batch_bytes: int) -> None:
        """Put an append's records into their lanes; raises `Overloaded` if there is no room."""
        headers = list(batch.headers.items())
        split: dict[int, list[NewRecord]] = {}
        count = len(self.lanes)
        for record in batch.records:
            lane = crc32(record.key) % count
            if lane in split:
                split[lane].append(record)
            else:
                split[lane] = [record]
        headers_bytes = size_of_headers(headers)
        sizes = {lane: _size(records, headers_bytes) for lane, records in split.items()}
        self._demand_room(sizes, split, headers_bytes, max_batch_bytes)
        for lane, records in split.items():
            self.lanes[lane].parts.append(Part(append, records, headers, sizes[lane]))
            self.held_bytes += sizes[lane]

    def take(self, lane: Lane, max_batch_bytes: int) -> list[Part]:
        """The parts of a lane's next batch, those of appends that are over left out."""
        taken: list[Part] = []
        room = min(GOOD_BATCH_BYTES, max_batch_bytes) - BATCH_OVERHEAD
        while lane.parts and room > 0:
            part = lane.parts[0]
            if part.append.is_over:
                self.let_go(lane.parts.popleft())
            elif part.size <= room:
                taken.append(lane.parts.popleft())
                room -= part.size
            elif taken:
                break
            else:
                taken.append(part.cut(room))
                if taken[0] is part:
                    lane.parts.popleft()
                break
        return taken

    def end_late(self, now: float, reason: str) -> None:
        """End the appends whose time is over.

        A batch that was refused is sent again for a while: it, too, may be stored after this.
        """
        late: set[Append] = set()
        for lane in self.lanes:
            sent = lane.outgoing.parts if lane.outgoing is not None else ()
            for part in sent:
                if part.append.expires_at <= now:
                    part.append.may_be_stored = True
                    late.add(part.append)
            late.update(part.append for part in lane.parts if part.append.expires_at <= now)
        for append in late:
            append.fail(reason)
        self.drop_over()

    def let_go(self, part: Part) -> None:
        """The part is stored or given up."""
        self.held_bytes -= part.size

    def drop_over(self) -> None:
        """Forget what nobody waits for any more: the room is everybody's."""
        for lane in self.lanes:
            kept = [part for part in lane.parts if not part.append.is_over]
            if len(kept) < len(lane.parts):
                self.held_bytes -= sum(p.size for p in lane.parts) - sum(p.size for p in kept)
                lane.parts = deque(kept)

    def fail_outgoing(self, reason: str) -> None:
        """The batches on their way have no future: end every append that has a part in one."""
        failed: list[Part] = []
        for lane in self.lanes:
            outgoing, lane.outgoing, lane.is_busy = lane.outgoing, None, False
            if outgoing is not None:
                failed += outgoing.parts
                for part in outgoing.parts:
                    part.append.may_be_stored |= outgoing.is_in_doubt
        # Only now: an append that was refused here may be in doubt there.
        for part in failed:
            part.append.fail(reason)
            self.let_go(part)

    def fail_all(self, reason: str) -> None:
        """End every append."""
        self.fail_outgoing(reason)
        for lane in self.lanes:
            while lane.parts:
                part = lane.parts.popleft()
                part.append.fail(reason)
                self.let_go(part)

    def _demand_room(
        self,
        sizes: dict[int, int],
        split: dict[int, list[NewRecord]],
        headers_bytes: int,
        max_batch_bytes: int,
    ) -> None:
        most = max_batch_bytes - BATCH_OVERHEAD
        for lane, size in sizes.items():
            if size > most:
                largest = max(size_of(record, headers_bytes) for record in split[lane])
                if largest > most:
                    raise Overloaded(
                        f"a record of {largest} bytes is larger than the topic takes ({most}); "
                        "raise its max.message.bytes (HEADRACE_KAFKA_MAX_MESSAGE_BYTES)"
                    )
        total = sum(sizes.values())
        if self.held_bytes and self.held_bytes + total > self._max_bytes:
            raise Overloaded(
                f"{self.held_bytes} bytes of records wait for Kafka already, of at most "
                f"{self._max_bytes}",
                retry_after=RETRY_SECONDS,
            )


def _size(records: Sequence[NewRecord], headers_bytes: int) -> int:
    """As `size_of` of each; a call for each took as long as all the rest of `add`."""
    own = sum([len(record.key) + len(record.value) for record in records])
    return own + len(records) * (headers_bytes + RECORD_OVERHEAD)
