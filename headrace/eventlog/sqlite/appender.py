"""The collector's side of the local log: what tasks call, and how they wait.

Owns the event loop's half: framing, the bounds, futures, recalling keys. The other half, a
thread of its own that commits, is `writer.py`.
"""

from __future__ import annotations

import asyncio
import copy
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from headrace.eventlog.port import Batch, KeyRecord
from headrace.eventlog.sqlite.chunk import from_micros, make_chunk
from headrace.eventlog.sqlite.errors import RETRY_SECONDS, describe
from headrace.eventlog.sqlite.file import LogFile
from headrace.eventlog.sqlite.inbox import Pending
from headrace.eventlog.sqlite.keys import KeyReader
from headrace.eventlog.sqlite.layout import Meta, open_reader, read_meta
from headrace.eventlog.sqlite.reserve import Reserve
from headrace.eventlog.sqlite.writer import Writer, open_file
from headrace.runtime.clock import Clock
from headrace.runtime.metrics import APPEND_FAILURES
from headrace.schemas.errors import Overloaded

_STOP_SECONDS: Final = 5.0
_LOG: Final = structlog.get_logger(__name__)


class SqliteAppender:
    """The port's `Appender` on a file; one per process, used from one event loop."""

    def __init__(self, path: Path, writer: Writer, *, max_bytes: int) -> None:
        self._writer = writer
        self._max_bytes = max_bytes
        self._wanted_bytes = 0
        self._keys = KeyReader(path)
        # Not the loop's own pool, where a key would wait behind strangers' slow work.
        self._key_thread = ThreadPoolExecutor(1, "log-keys")

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        positions: Path,
        clock: Clock,
        max_bytes: int,
        reserve_bytes: int | None = None,
    ) -> SqliteAppender:
        """Open the log, or make it, and start its writer.

        `positions` is the processor's file, read to know what may be deleted. A log that is
        there but cannot be written now opens all the same and refuses appends until it can.
        `reserve_bytes` None keeps back what suits the disk.

        Raises `WrongLayout` for a log of another version, `Overloaded` if there is no log and
        none can be made.
        """
        reserve = Reserve(path.with_name(path.name + "-reserve"), reserve_bytes)
        file, meta = _open_somehow(path, clock, reserve)
        writer = Writer(path, positions=positions, clock=clock, meta=meta, reserve=reserve)
        writer.start(file)
        return cls(path, writer, max_bytes=max_bytes)

    @property
    def log_id(self) -> str:
        return self._writer.meta.log_id

    def append(self, batch: Batch, *, key_record: KeyRecord | None = None) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        if not batch.records and key_record is None:
            future.set_result(None)
            return future
        chunk = make_chunk(batch) if batch.records else None
        pending = Pending(chunk, key_record, future, time.perf_counter())
        try:
            self._check_room(pending.size)
            self._writer.inbox.put(pending)
        except Overloaded as error:
            APPEND_FAILURES.labels(kind="refused").inc()
            # Its trace holds this frame and the batch, the frame the future, and the future it.
            future.set_exception(error.with_traceback(None))
        return future

    async def recall(self, key: bytes, now: datetime) -> KeyRecord | None:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._key_thread, self._keys.recall, key, now)

    async def keys_since(self) -> datetime:
        return from_micros(self._writer.meta.created_at)

    def is_writable(self) -> bool:
        return self._writer.refusal is None and self._has_room(self._wanted_bytes)

    async def stop(self) -> None:
        await asyncio.to_thread(self._key_thread.shutdown)
        self._keys.close()  # before the writer: the last to close carries the WAL over
        self._writer.close()
        if not await asyncio.to_thread(self._writer.join, _STOP_SECONDS):
            _LOG.error("log_writer_stuck", seconds=_STOP_SECONDS)

    def _check_room(self, size: int) -> None:
        refusal = self._writer.refusal
        if refusal is not None:
            raise copy.copy(refusal) from refusal
        if not self._has_room(size):
            self._wanted_bytes = size
            raise Overloaded(
                f"the log holds {self._writer.used_bytes} of at most {self._max_bytes} bytes; "
                "it empties as the processor settles events, or raise HEADRACE_LOG_MAX_BYTES",
                retry_after=RETRY_SECONDS,
            )
        self._wanted_bytes = 0

    def _has_room(self, size: int) -> bool:
        waiting = self._writer.inbox.waiting_bytes
        return self._writer.used_bytes + waiting + size <= self._max_bytes


def _open_somehow(path: Path, clock: Clock, reserve: Reserve) -> tuple[LogFile | None, Meta]:
    """The log to write; None and what can be read of it if it cannot be written now."""
    try:
        file = open_file(path, clock, reserve)
    except sqlite3.Error:
        reserve.give_up()  # even opening takes some space: the WAL and its index
        try:
            file = open_file(path, clock, reserve)
        except sqlite3.Error as error:
            return None, _read_meta_only(path, error)
    return file, file.meta


def _read_meta_only(path: Path, trouble: sqlite3.Error) -> Meta:
    try:
        connection = open_reader(path, immutable=True)
        try:
            return read_meta(connection, path)
        finally:
            connection.close()
    except sqlite3.Error:
        raise Overloaded(
            f"the log {path} can neither be opened nor made ({describe(trouble)}); "
            "check that its disk has room and can be written",
            retry_after=RETRY_SECONDS,
        ) from trouble
