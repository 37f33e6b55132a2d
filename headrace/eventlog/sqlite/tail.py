"""Reading `log.sqlite` from a position on, and waiting for what comes.

Owns the processor's connection to the log. Each read is one short statement, so that no reader
keeps the WAL from starting over. Waiting asks `PRAGMA data_version`, which looks at shared
memory: about 15 µs every 10 ms.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from headrace.eventlog.port import Record
from headrace.eventlog.sqlite.chunk import Chunk, decode_records
from headrace.eventlog.sqlite.layout import Meta, file_identity, open_reader, read_meta

_POLL_SECONDS: Final = 0.01


class LogReader:
    """One log file, open for reading. Every call blocks.

    One thread reads; another one may ask for `ends` meanwhile.

    Calls raise `sqlite3.Error`; `read` raises `LookupError` as the port says.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._identity = file_identity(path)
        self._rest: Sequence[Record] = ()
        self._in_use = threading.Lock()
        self.meta: Meta = read_meta(connection, path)

    @classmethod
    def open(cls, path: Path) -> LogReader | None:
        """The log, or None while the collector has not made it yet."""
        if not path.exists():
            return None
        connection = open_reader(path)
        try:
            return cls(path, connection)
        except sqlite3.OperationalError as error:
            connection.close()
            if "no such table" in str(error):
                return None
            raise
        except BaseException:
            connection.close()
            raise

    def is_replaced(self) -> bool:
        """Whether another file has this one's name by now. A missing one is waited for."""
        identity = file_identity(self._path)
        return identity is not None and identity != self._identity

    def ends(self) -> tuple[int, int]:
        """`(earliest, end)` as the port says."""
        with self._in_use:
            earliest, last = self._connection.execute(
                "SELECT (SELECT first_position FROM chunks ORDER BY last_position LIMIT 1), "
                "(SELECT max(seq) FROM sqlite_sequence WHERE name = 'chunks')"
            ).fetchone()
        end = (last or 0) + 1
        return end if earliest is None else earliest, end

    def appended_at(self, position: int) -> int | None:
        """When the first record from `position` on was appended, in microseconds since 1970."""
        row = self._connection.execute(
            "SELECT appended_at FROM chunks WHERE last_position >= ? "
            "ORDER BY last_position LIMIT 1",
            (position,),
        ).fetchone()
        return None if row is None else int(row[0])

    def read(
        self,
        position: int,
        *,
        max_records: int,
        max_bytes: int,
        wait_seconds: float,
        ended: threading.Event,
    ) -> Sequence[Record]:
        """Records from `position` on; waits for the first one, or until `ended`."""
        deadline = time.monotonic() + wait_seconds
        while True:
            version = self._data_version()
            found = self._read_now(position, max_records, max_bytes)
            if found:
                return found
            self._check_range(position)
            while self._data_version() == version:
                if time.monotonic() >= deadline or ended.wait(_POLL_SECONDS):
                    return ()

    def close(self) -> None:
        self._connection.close()

    def _read_now(self, position: int, max_records: int, max_bytes: int) -> Sequence[Record]:
        found: list[Record] = []
        found_bytes = 0
        with self._in_use, closing(self._runs(position)) as runs:
            for records in runs:
                run_bytes = sum([len(record.key) + len(record.value) for record in records])
                if (
                    len(found) + len(records) <= max_records
                    and found_bytes + run_bytes <= max_bytes
                ):
                    found += records
                    found_bytes += run_bytes
                    continue
                for index, record in enumerate(records):
                    found_bytes += len(record.key) + len(record.value)
                    if len(found) >= max_records or (found and found_bytes > max_bytes):
                        self._rest = records[index:]
                        return found
                    found.append(record)
        self._rest = ()
        return found

    def _runs(self, position: int) -> Generator[Sequence[Record], None, None]:
        """Consecutive records from `position` on, a chunk or the rest of one at a time."""
        if self._rest and self._rest[0].position == position:
            position = self._rest[-1].position + 1
            yield self._rest
        rows = self._connection.execute(
            "SELECT last_position, first_position, appended_at, body FROM chunks "
            "WHERE last_position >= ? ORDER BY last_position",
            (position,),
        )
        try:
            for row in rows:
                chunk = Chunk(*row)
                if chunk.first_position > position:
                    raise LookupError(
                        f"position {position} of {self._path} is gone; the next one held is "
                        f"{chunk.first_position}"
                    )
                yield decode_records(chunk)[position - chunk.first_position :]
                position = chunk.last_position + 1
        finally:
            rows.close()  # ends the read transaction, also when the caller has enough

    def _check_range(self, position: int) -> None:
        earliest, end = self.ends()
        if not earliest <= position <= end:
            raise LookupError(f"position {position} of {self._path} is not in [{earliest}, {end}]")

    def _data_version(self) -> int:
        with self._in_use:
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
            return version
