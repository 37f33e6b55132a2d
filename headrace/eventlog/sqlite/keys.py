"""Recalling keys: one indexed read on a connection of its own, in a thread of its own.

An index in memory would answer faster than the 0.1 ms this takes, but a day of keys is
millions of them; and in the event loop even a tiny read may wait for the disk.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path

from headrace.eventlog.port import KeyRecord
from headrace.eventlog.sqlite.chunk import from_micros, to_micros
from headrace.eventlog.sqlite.errors import describe
from headrace.eventlog.sqlite.layout import file_identity, open_reader
from headrace.schemas.errors import Unavailable


class KeyReader:
    """Reads `keys` of one log file. Every call blocks; one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def recall(self, key: bytes, now: datetime) -> KeyRecord | None:
        """The committed, unexpired record of a key; `Unavailable` if the file cannot be read."""
        try:
            row = (
                self._connected()
                .execute(
                    "SELECT key, value, expires_at FROM keys WHERE key = ? AND expires_at > ?",
                    (key, to_micros(now)),
                )
                .fetchone()
            )
        except sqlite3.Error as error:
            self.close()
            raise Unavailable(f"keys of {self._path}: {describe(error)}") from error
        return KeyRecord(row[0], row[1], from_micros(row[2])) if row is not None else None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> sqlite3.Connection:
        identity = file_identity(self._path)
        if self._connection is None or identity != self._identity:
            self.close()
            self._connection, self._identity = open_reader(self._path), identity
        return self._connection
