"""Mapped lines into requests: which events go together, and under which Idempotency-Key.

Owns batch boundaries and keys. Both depend on the content and the batch size alone, never on
time, order of sending or concurrency: whoever repeats an import makes the same batches with the
same keys, and what was taken the first time is not taken again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import msgspec

from headrace.runtime.sending.mapping import Mapper, Unmapped
from headrace.runtime.sending.source import Source
from headrace.runtime.sending.summary import Summary
from headrace.schemas.records import MAX_BODY_BYTES, MAX_EVENTS_PER_REQUEST

_OPEN: Final = b'{"events":['
_CLOSE: Final = b"]}"
_KEY_PREFIX: Final = "headrace-send-1-"
_TOO_LONG: Final = Unmapped("too_long", f"longer than {MAX_BODY_BYTES:,} bytes")


class Batch(msgspec.Struct, frozen=True):
    """One request: the events' bytes, the lines they came from, and how far that was."""

    key: str
    events: list[bytes]
    lines: list[int]
    source_bytes: int = 0
    """Bytes of the source read since the batch before."""

    def body(self) -> bytes:
        """The request's body."""
        return _OPEN + b",".join(self.events) + _CLOSE

    def halves(self) -> tuple[Batch, Batch]:
        """The same events in two requests, whose keys a repeat would derive alike."""
        middle = len(self.events) // 2
        return (
            Batch(f"{self.key}.0", self.events[:middle], self.lines[:middle], self.source_bytes),
            Batch(f"{self.key}.1", self.events[middle:], self.lines[middle:]),
        )


def make_batches(
    source: Source,
    mapper: Mapper,
    summary: Summary,
    *,
    batch_size: int = MAX_EVENTS_PER_REQUEST,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Iterator[Batch]:
    """Batches in the order of the lines; counts lines, and those that are no event, in `summary`.

    Memory is that of one batch, and a number for each batch made. If the source turns out to be
    damaged the unfinished batch is not made: it would be another one once the source is whole.
    """
    keys = _Keys()
    room = max_body_bytes - len(_OPEN) - len(_CLOSE)
    events: list[bytes] = []
    lines: list[int] = []
    size = position = 0

    def cut() -> Batch:
        nonlocal events, lines, size, position
        batch = Batch(keys.next_key(events), events, lines, source.position - position)
        events, lines, size, position = [], [], 0, source.position
        return batch

    for number, line in enumerate(source.lines(max_body_bytes), start=1):
        if line is not None and (not line or line.isspace()):
            continue
        summary.lines_read += 1
        event = _TOO_LONG if line is None else mapper.map(line)
        if isinstance(event, bytes) and len(event) > room:
            event = _TOO_LONG
        if isinstance(event, Unmapped):
            summary.note_unreadable(event.code, event.reason, number)
            continue
        if events and (len(events) == batch_size or size + len(event) + 1 > room):
            yield cut()
        events.append(event)
        lines.append(number)
        size += len(event) + 1
    if events:
        yield cut()


class _Keys:
    """Keys from content; equal batches of one source are told apart by their order."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._repeats: dict[int, int] = {}

    def next_key(self, events: list[bytes]) -> str:
        digest = hashlib.blake2b(b"\n".join(events), digest_size=16).hexdigest()
        short = int(digest[:16], 16)
        if short not in self._seen:
            self._seen.add(short)
            return _KEY_PREFIX + digest
        self._repeats[short] = self._repeats.get(short, 0) + 1
        return f"{_KEY_PREFIX}{digest}-{self._repeats[short]}"
