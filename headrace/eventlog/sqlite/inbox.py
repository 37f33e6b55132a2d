"""What waits to be written: the bounded queue between the event loop and the writer's thread."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Final

import msgspec

from headrace.eventlog.port import KeyRecord
from headrace.eventlog.sqlite.chunk import NewChunk
from headrace.schemas.errors import Overloaded

MAX_WAITING_BYTES: Final = 32 * 1024 * 1024
MAX_WAITING: Final = 10_000
GROUP_BYTES: Final = 8 * 1024 * 1024
"""What one transaction takes at most, unless a single batch is larger."""


class Pending(msgspec.Struct, frozen=True):
    """One append on its way; `future` is what its caller waits for."""

    chunk: NewChunk | None
    key_record: KeyRecord | None
    future: asyncio.Future[None]
    handed_over: float

    @property
    def size(self) -> int:
        return len(self.chunk.body) if self.chunk is not None else 0


class Inbox:
    """First in, first out; full raises `Overloaded` at once, since a client can wait better."""

    def __init__(self, group_bytes: int = GROUP_BYTES) -> None:
        self._group_bytes = group_bytes
        self._waiting: deque[Pending] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.waiting_bytes = 0

    def put(self, pending: Pending) -> None:
        """Hand an append over to the writer."""
        with self._changed:
            if self._closed:
                raise Overloaded("the log is closed; the collector is stopping")
            if self._is_full(pending):
                raise Overloaded(
                    f"{len(self._waiting)} batches ({self.waiting_bytes} bytes) wait for the disk"
                )
            self._waiting.append(pending)
            self.waiting_bytes += pending.size
            self._changed.notify()

    def _is_full(self, pending: Pending) -> bool:
        if len(self._waiting) >= MAX_WAITING:
            return True
        return bool(self._waiting) and self.waiting_bytes + pending.size > MAX_WAITING_BYTES

    def take(self, wait_seconds: float) -> list[Pending]:
        """All that wait, up to `group_bytes` and at least one; empty when nothing came."""
        with self._changed:
            if not self._waiting and not self._closed:
                self._changed.wait(wait_seconds)
            group: list[Pending] = []
            taken_bytes = 0
            while self._waiting:
                taken_bytes += self._waiting[0].size
                if group and taken_bytes > self._group_bytes:
                    break
                group.append(self._waiting.popleft())
            self.waiting_bytes -= sum(pending.size for pending in group)
            return group

    def close(self) -> None:
        """Take nothing in any more; what waits is still handed out."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def is_drained(self) -> bool:
        """Closed, and everything handed out."""
        return self._closed and not self._waiting
