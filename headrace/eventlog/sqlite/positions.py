"""`positions.sqlite`: how far each partition is settled and who owns it. The processor writes it.

One row per log and partition, kept when the log is replaced. Positions and epochs only grow: a
commit is a compare-and-set on both.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from headrace.eventlog.port import Committed
from headrace.eventlog.sqlite.chunk import to_micros
from headrace.eventlog.sqlite.layout import (
    POSITIONS_TABLES,
    file_identity,
    open_reader,
    open_writer,
    read_meta,
)
from headrace.runtime.clock import Clock
from headrace.schemas.errors import Fenced

_CHECKPOINT_COMMITS: Final = 64


class PositionsFile:
    """The file, to own partitions and commit. Every call blocks; one thread at a time.

    Calls raise `sqlite3.Error`; the next one then opens the file anew.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._commits = 0
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def own(self, log_id: str, partition: int) -> int:
        """Become the owner: every earlier owner is fenced from now on. Returns the epoch."""
        # Fetched whole: a statement with RETURNING commits when its last row is out.
        rows = self._execute(
            "INSERT INTO partitions (log_id, partition, epoch) VALUES (?, ?, 1) "
            "ON CONFLICT DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
            (log_id, partition),
        ).fetchall()
        epoch: int = rows[0][0]
        return epoch

    def committed(self, log_id: str, partition: int) -> Committed | None:
        """What was committed last, by whomever."""
        return _committed(self._execute, log_id, partition)

    def commit(self, log_id: str, partition: int, epoch: int, committed: Committed) -> None:
        """Record how far the partition is settled, durably; `Fenced` as the port says."""
        changed = self._execute(
            "UPDATE partitions SET position = ?1, pending_to = ?2, committed_at = ?3 "
            "WHERE log_id = ?4 AND partition = ?5 AND epoch = ?6 "
            "AND (position IS NULL OR position <= ?1)",
            (
                committed.position,
                committed.pending_to,
                to_micros(self._clock.now()),
                log_id,
                partition,
                epoch,
            ),
        ).rowcount
        if not changed:
            raise Fenced(
                f"partition {partition} of log {log_id}: position {committed.position} of owner "
                f"{epoch} was not committed; it has another owner or is settled further"
            )
        self._checkpoint_sometimes()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _execute(self, statement: str, values: Sequence[int | str | None]) -> sqlite3.Cursor:
        try:
            return self._connected().execute(statement, values)
        except sqlite3.Error:
            self.close()
            raise

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None or file_identity(self._path) != self._identity:
            self.close()
            self._connection = open_writer(
                self._path, POSITIONS_TABLES, created_at=to_micros(self._clock.now())
            )
            self._identity = file_identity(self._path)
            # After a failed write nobody knows which frames of the WAL are on the disk; once
            # they are in the file itself, and the WAL is empty, everything is.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return self._connection

    def _checkpoint_sometimes(self) -> None:
        self._commits += 1
        if self._commits % _CHECKPOINT_COMMITS == 0:
            self._execute("PRAGMA wal_checkpoint(PASSIVE)", ()).fetchall()


def read_committed(path: Path, log_id: str, partition: int) -> Committed | None:
    """What was committed, read by somebody who is not the owner; None if there is no file yet.

    Raises `sqlite3.Error` or `WrongLayout` if the file cannot be read.
    """
    if not path.exists():
        return None
    connection = open_reader(path)
    try:
        read_meta(connection, path)
        return _committed(connection.execute, log_id, partition)
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # its owner is about to make it
            return None
        raise
    finally:
        connection.close()


def _committed(
    execute: Callable[[str, Sequence[int | str]], sqlite3.Cursor], log_id: str, partition: int
) -> Committed | None:
    row = execute(
        "SELECT position, pending_to FROM partitions "
        "WHERE log_id = ? AND partition = ? AND position IS NOT NULL",
        (log_id, partition),
    ).fetchone()
    return Committed(*row) if row is not None else None
