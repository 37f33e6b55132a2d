"""`log.sqlite` as its one writer sees it: rows in, settled rows out, pages given back.

Every call blocks and belongs to the writer's thread; errors are SQLite's own, which
`writer.py` judges. Nothing here knows of queues, tasks or settings.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from headrace.eventlog.port import KeyRecord
from headrace.eventlog.sqlite.chunk import NewChunk, pack, to_micros
from headrace.eventlog.sqlite.layout import LOG_TABLES, Meta, file_identity, open_writer, read_meta

CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
"""The WAL is carried over into the file when this much was written to it."""
_LONG: Final = 4  # times that, and the WAL is cut short even if we must wait for readers
_CUT_SECONDS: Final = 2.0  # between tries, each of which may wait for a reader that stays
_SPARE_BYTES: Final = 64 * 1024 * 1024  # free pages kept in the file for the next rush
_FREE_TO_USED: Final = 4  # pages are given back when rows take a fifth of the file
_STEP_SECONDS: Final = 0.005
_STEP_ROUNDS: Final = 32
_DELETE_ROWS: Final = 16
_DELETE_KEYS: Final = 256
_SCAN_KEYS: Final = 256
_VACUUM_PAGES: Final = 512


class LogFile:
    """The open file. Make it with `LogFile.open`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, checkpoint_bytes: int) -> None:
        self._connection = connection
        self._path = path
        self._identity = file_identity(path)
        self._wal = path.with_name(path.name + "-wal")
        self._checkpoint_bytes = checkpoint_bytes
        self._written_bytes = checkpoint_bytes  # unknown: what is left of the last run
        self._next_cut = 0.0
        self.committing = False
        self.meta: Meta = read_meta(connection, path)
        (self._page_bytes,) = self._row("PRAGMA page_size")
        row = self._row("SELECT max(seq) FROM sqlite_sequence WHERE name = 'chunks'")
        self._last_position: int = row[0] or 0

    @classmethod
    def open(
        cls, path: Path, *, now: datetime, checkpoint_bytes: int = CHECKPOINT_BYTES
    ) -> LogFile:
        """Open the file; a new one is made with `now` as its creation time."""
        connection = open_writer(path, LOG_TABLES, created_at=to_micros(now))
        try:
            return cls(path, connection, checkpoint_bytes)
        except BaseException:
            connection.close()
            raise

    def append(self, chunks: Sequence[NewChunk], keys: Sequence[KeyRecord], now: datetime) -> int:
        """Store chunks and keys in one transaction, on the disk when it returns.

        Returns about how many bytes more the file takes for it. If it raises, `committing` says
        whether it may have taken effect all the same.
        """
        self.committing = False
        position, rows, written_bytes = self._last_position, [], 0
        for chunk in chunks:
            first, position = position + 1, position + chunk.count
            stored = pack(chunk.body)
            written_bytes += len(stored)
            rows.append((position, first, to_micros(now), len(chunk.body), stored))
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO chunks VALUES (?, ?, ?, ?, ?)", rows)
        if keys:
            self._connection.executemany(
                "INSERT OR REPLACE INTO keys VALUES (?, ?, ?)",
                [(key.key, key.value, to_micros(key.expires_at)) for key in keys],
            )
        self.committing = True
        self._connection.execute("COMMIT")
        self._last_position = position
        # A key goes to a page of its own, and to one of the index.
        key_bytes = 2 * len(keys) * self._page_bytes
        self._note_written(written_bytes + key_bytes)
        return written_bytes + self._page_bytes + key_bytes

    def roll_back(self) -> None:
        """Undo what a failed call left open."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def delete_settled(self, before: int) -> bool:
        """A few ms of deleting chunks that lie wholly before a position; True if more remain."""
        return self._delete(
            "DELETE FROM chunks WHERE last_position IN (SELECT last_position FROM chunks "
            "WHERE last_position < ? ORDER BY last_position LIMIT ?)",
            before,
            _DELETE_ROWS,
        )

    def delete_expired_keys(self, now: datetime) -> bool:
        """A few ms of deleting expired keys; True if more remain."""
        return self._delete(
            "DELETE FROM keys WHERE key IN (SELECT key FROM keys "
            "WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
            to_micros(now),
            _DELETE_KEYS,
        )

    def empty_values(self, holding: bytes, after: bytes) -> bytes | None:
        """A few ms of emptying the values that hold some bytes, of the keys after one.

        Returns the last key looked at, None if that was the last there is.
        """
        deadline = time.monotonic() + _STEP_SECONDS
        last: bytes | None = after
        self._connection.execute("PRAGMA secure_delete = ON")  # or the bytes stay in the page
        self._connection.execute("BEGIN IMMEDIATE")
        while last is not None and time.monotonic() < deadline:
            after, last = last, self._key_after(last, _SCAN_KEYS)
            emptied = self._connection.execute(
                "UPDATE keys SET value = x'' "
                "WHERE key > ? AND (? IS NULL OR key <= ?) AND instr(value, ?) > 0",
                (after, last, last, holding),
            ).rowcount
            self._note_written(emptied * self._page_bytes)
        self._connection.execute("COMMIT")
        self._connection.execute("PRAGMA secure_delete = OFF")
        return last

    def give_pages_back(self, *, keep_bytes: int | None = None) -> bool:
        """Shorten the file by some of its free pages if it has many; True if more remain.

        That moves the rows at its end to its front. In the middle of a backlog it cost the
        collector 5 µs for each event read from it, so it waits until few are left to move.
        """
        if keep_bytes is None:
            keep_bytes = max(_SPARE_BYTES, _FREE_TO_USED * self._row_bytes())
        if self.free_bytes() <= keep_bytes:
            return False
        self._connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        self._note_written(_VACUUM_PAGES * self._page_bytes)
        return self.free_bytes() > keep_bytes

    def checkpoint(self, *, truncate: bool = False) -> bool:
        """Carry the WAL over into the file; False if readers kept it from being complete.

        With `truncate` the WAL is emptied too, which waits a moment for readers.
        """
        mode = "TRUNCATE" if truncate else "PASSIVE"
        busy, frames, carried = self._row(f"PRAGMA wal_checkpoint({mode})")
        self._written_bytes = 0
        return not busy and frames == carried

    def checkpoint_if_due(self) -> None:
        """Keep the WAL near its bound.

        Once carried over it is written from its start again, if no reader is in it just then;
        one that has grown long for that reason is emptied, which waits a moment for readers.
        """
        if self._written_bytes < self._checkpoint_bytes:
            return
        is_long = self.wal_bytes() > _LONG * self._checkpoint_bytes
        must_cut = is_long and time.monotonic() >= self._next_cut
        if must_cut:
            self._next_cut = time.monotonic() + _CUT_SECONDS
        self.checkpoint(truncate=must_cut)

    def used_bytes(self) -> int:
        """Bytes that rows take, and a WAL longer than it should be."""
        overlong = max(0, self.wal_bytes() - _LONG * self._checkpoint_bytes)
        return self._row_bytes() + overlong

    def free_bytes(self) -> int:
        """Bytes of the file that are free for new rows."""
        (pages,) = self._row("PRAGMA freelist_count")
        return int(pages) * self._page_bytes

    def wal_bytes(self) -> int:
        try:
            return self._wal.stat().st_size
        except FileNotFoundError:
            return 0

    def holds_records(self) -> bool:
        """Whether anything is left that retention could delete."""
        return bool(self._row("SELECT exists(SELECT 1 FROM chunks)")[0])

    def is_in_place(self) -> bool:
        """False if the file was removed or replaced: what is written now, nobody will read."""
        return file_identity(self._path) == self._identity

    def close(self) -> None:
        self._connection.close()

    def _row_bytes(self) -> int:
        (pages,) = self._row("PRAGMA page_count")
        return int(pages) * self._page_bytes - self.free_bytes()

    def _delete(self, statement: str, bound: int, limit: int) -> bool:
        deadline = time.monotonic() + _STEP_SECONDS
        deleted, rounds = limit, 0
        self._connection.execute("BEGIN IMMEDIATE")
        while deleted == limit and rounds < _STEP_ROUNDS and time.monotonic() < deadline:
            rounds += 1
            deleted = self._connection.execute(statement, (bound, limit)).rowcount
            self._note_written(deleted * self._page_bytes)
        self._connection.execute("COMMIT")
        return deleted == limit

    def _key_after(self, key: bytes, count: int) -> bytes | None:
        row = self._connection.execute(
            "SELECT key FROM keys WHERE key > ? ORDER BY key LIMIT 1 OFFSET ?", (key, count - 1)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def _note_written(self, content_bytes: int) -> None:
        # SQLite does not say how long the WAL is in use; content and a few pages come near.
        self._written_bytes += content_bytes + 4 * self._page_bytes if content_bytes else 0

    def _row(self, statement: str, *values: int) -> tuple[int, ...]:
        row: tuple[int, ...] = self._connection.execute(statement, values).fetchone()
        return row
