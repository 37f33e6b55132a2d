"""Emptying what is kept under keys, of whom nothing may be kept any longer.

Owns how the writer is asked to: by a file beside the log, whose content is looked for in the
values. Only the collector may write the log, so it does the work, a few milliseconds at a time,
and removes the file when no value holds those bytes. The keys stay, with an empty value: that one
was used is still known. A file that is left by anybody, for whatever reason, is worked on when
the collector runs again.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from headrace.eventlog.sqlite.errors import describe
from headrace.eventlog.sqlite.layout import open_reader
from headrace.schemas.errors import Unavailable


class Keys(Protocol):
    """The keys as the writer's file offers them."""

    def empty_values(self, holding: bytes, after: bytes) -> bytes | None:
        """Empty some values, in the order of the keys; the last key looked at, None if done."""
        ...


class Forgetter:
    """The writer's side."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._request: Path | None = None
        self._after = b""

    def work(self, keys: Keys) -> bool:
        """A few ms of it, if anybody asked; True if there is more."""
        if self._request is None:
            self._request = next(iter(sorted(self._log.parent.glob(_file(self._log, "*")))), None)
            self._after = b""
        if self._request is None:
            return False
        try:
            after = keys.empty_values(self._request.read_bytes(), self._after)
        except FileNotFoundError:
            after = None
        if after is None:
            self._request.unlink(missing_ok=True)
            self._request = None
        else:
            self._after = after
        return True


class Request:
    """The side of who wants the values that hold `content` emptied."""

    def __init__(self, log: Path, content: bytes) -> None:
        self._path = log.with_name(_file(log, uuid4().hex))
        self.count = _count(log, content)
        """How many there were."""
        draft = self._path.with_name(f".{self._path.name}")
        draft.write_bytes(content)
        draft.rename(self._path)

    def is_done(self) -> bool:
        return not self._path.exists()


def _file(log: Path, name: str) -> str:
    return f"{log.name}-forget-{name}"


def _count(log: Path, content: bytes) -> int:
    """Raises `Unavailable` if the log cannot be read."""
    try:
        with contextlib.closing(open_reader(log)) as connection:
            row = connection.execute(
                "SELECT count(*) FROM keys WHERE instr(value, ?) > 0", (content,)
            ).fetchone()
    except sqlite3.Error as error:
        raise Unavailable(f"keys of {log}: {describe(error)}") from error
    return int(row[0])
