"""Emptying what is kept under keys, of whom nothing may be kept any longer.

Owns how the writer is asked to: by a file beside the log, whose content is looked for in the
values. Only the collector may write the log, so it does the work, a few milliseconds at a time,
and removes the file when no value holds those bytes. The keys stay, with an empty value: that one
was used is still known. A file that is left by anybody, for whatever reason, is worked on when
the collector runs again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final, Protocol
from uuid import uuid4

import structlog

from headrace.eventlog.sqlite.errors import describe
from headrace.eventlog.sqlite.layout import open_reader
from headrace.schemas.errors import Unavailable

_LOG: Final = structlog.get_logger(__name__)


class Keys(Protocol):
    """The keys as the writer's file offers them."""

    def empty_values(self, holding: bytes, after: bytes) -> bytes | None:
        """Empty some values, in the order of the keys; the last key looked at, None if done."""
        ...

    def checkpoint(self, *, truncate: bool) -> bool:
        """Leave nothing in the WAL; False if it could not be."""
        ...


class Forgetter:
    """The writer's side."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._request: Path | None = None
        self._content = b""
        self._after: bytes | None = b""
        self._unreadable: set[Path] = set()

    def work(self, keys: Keys) -> bool:
        """A few ms of it, if anybody asked; True if there is more to do at once."""
        if self._request is None and not self._take_next():
            return False
        assert self._request is not None
        if self._after is not None:
            self._after = keys.empty_values(self._content, self._after)
            return True
        # What was emptied is in the WAL as it was, until that is written anew.
        if not keys.checkpoint(truncate=True):
            return False
        try:
            self._request.unlink(missing_ok=True)
        except OSError as error:
            self._leave(self._request, error)
        self._request = None
        return True

    def _take_next(self) -> bool:
        for request in sorted(self._log.parent.glob(_file(self._log, "*"))):
            if request in self._unreadable:
                continue
            try:
                content = request.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                self._leave(request, error)
                continue
            if not content:  # every value would hold it
                self._leave(request, "it is empty")
                continue
            self._request, self._content, self._after = request, content, b""
            return True
        return False

    def _leave(self, request: Path, why: object) -> None:
        self._unreadable.add(request)
        _LOG.error("what shall be forgotten cannot be read", path=str(request), reason=str(why))


class Request:
    """The side of who wants the values that hold `content` emptied."""

    def __init__(self, log: Path, content: bytes) -> None:
        """Raises `Unavailable` if the log cannot be read or the request not be left there."""
        self._path = log.with_name(_file(log, uuid4().hex))
        self.count = _count(log, content)
        """How many there were."""
        try:
            _write_durably(self._path, content, owner=log.stat())
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be written: {error}") from error

    def is_done(self) -> bool:
        return not self._path.exists()


def _file(log: Path, name: str) -> str:
    return f"{log.name}-forget-{name}"


def _write_durably(path: Path, content: bytes, owner: os.stat_result) -> None:
    """There whole or not at all, also after a loss of power; of who owns the log."""
    draft = path.with_name(f".{path.name}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        if os.geteuid() == 0:
            os.chown(draft, owner.st_uid, owner.st_gid)
        os.fsync(file.fileno())
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


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
