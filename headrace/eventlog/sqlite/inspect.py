"""A look at the local log from outside, for `headrace status`; it needs no process to run."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path

import msgspec

from headrace.eventlog.sqlite.chunk import from_micros
from headrace.eventlog.sqlite.errors import describe
from headrace.eventlog.sqlite.positions import read_committed
from headrace.eventlog.sqlite.tail import LogReader
from headrace.schemas.errors import Unavailable


class LogState(msgspec.Struct, frozen=True):
    """The log at one moment. `settled` is None if nothing was ever committed.

    `size_bytes` is what the files take on the disk.
    """

    log_id: str
    earliest: int
    end: int
    settled: int | None
    size_bytes: int
    oldest_unsettled_at: datetime | None

    @property
    def unsettled(self) -> int:
        """Records that are not settled yet."""
        return self.end - max(self.settled or 0, self.earliest)

    def lag_seconds(self, now: datetime) -> float:
        """Age of the oldest record that is not settled; 0 if all are."""
        oldest = self.oldest_unsettled_at
        return 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())


def inspect_log(log: Path, positions: Path) -> LogState | None:
    """The state of the log, or None if there is none yet.

    Raises `Unavailable` if a file cannot be read, `WrongLayout` if another version made it.
    """
    try:
        reader = LogReader.open(log)
        if reader is None:
            return None
        try:
            return _inspect(reader, log, positions)
        finally:
            reader.close()
    except sqlite3.Error as error:
        raise Unavailable(f"{log} or {positions} cannot be read ({describe(error)})") from error


def _inspect(reader: LogReader, log: Path, positions: Path) -> LogState:
    committed = read_committed(positions, reader.meta.log_id, 0)
    settled = committed.position if committed is not None else None
    earliest, end = reader.ends()
    appended_at = reader.appended_at(settled if settled is not None else earliest)
    return LogState(
        log_id=reader.meta.log_id,
        earliest=earliest,
        end=end,
        settled=settled,
        size_bytes=sum(file.stat().st_size for file in log.parent.glob(f"{log.name}*")),
        oldest_unsettled_at=None if appended_at is None else from_micros(appended_at),
    )
