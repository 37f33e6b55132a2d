"""How the two files look, and how a connection to them is set up.

Owns the tables, the layout version and the pragmas. `log.sqlite` has one connection that
writes (the collector's), `positions.sqlite` one (the processor's); everybody else reads, with
`mode=ro`. That is not only tidy: SQLite before 3.51.3 can corrupt a WAL file when two
connections write or checkpoint at the same instant (https://www.sqlite.org/wal.html#walresetbug).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote
from uuid import uuid4

import msgspec

from headrace.schemas.errors import HeadraceError

LAYOUT: Final = 2
_OLDEST: Final = 1
"""Bodies of layout 1 were never packed. A file of it is read as it is; whoever writes it makes it
one of layout 2, so that an older Headrace does not stumble over what is added."""

# A page of 8 KiB is the cheapest here: per 1,000 records of 360 bytes 0.8 ms of CPU where pages
# of 4 KiB cost 1.0, and a commit of a single event costs no more than with 4 KiB.
_PAGE_BYTES: Final = 8192

# How long to wait for readers where they are in the way; ours need a few ms.
_BUSY_SECONDS: Final = 0.1

_META: Final = """
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    layout INTEGER NOT NULL,
    log_id TEXT NOT NULL,
    created_at INTEGER NOT NULL
)
"""
_CHUNKS: Final = """
CREATE TABLE chunks (
    last_position INTEGER PRIMARY KEY AUTOINCREMENT,
    first_position INTEGER NOT NULL,
    appended_at INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    body BLOB NOT NULL
)
"""
_KEYS: Final = """
CREATE TABLE keys (
    key BLOB PRIMARY KEY,
    value BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID
"""
_KEYS_BY_EXPIRY: Final = "CREATE INDEX keys_by_expiry ON keys (expires_at)"
_PARTITIONS: Final = """
CREATE TABLE partitions (
    log_id TEXT NOT NULL,
    partition INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    position INTEGER,
    pending_to INTEGER,
    committed_at INTEGER,
    PRIMARY KEY (log_id, partition)
) WITHOUT ROWID
"""
LOG_TABLES: Final = (_META, _CHUNKS, _KEYS, _KEYS_BY_EXPIRY)
POSITIONS_TABLES: Final = (_META, _PARTITIONS)


class WrongLayout(HeadraceError):
    """A file that another version of Headrace made, or none of ours."""


class Meta(msgspec.Struct, frozen=True):
    """What a file says of itself; `created_at` in microseconds since 1970."""

    log_id: str
    created_at: int


def open_writer(path: Path, tables: tuple[str, ...], *, created_at: int) -> sqlite3.Connection:
    """The connection that writes a file, which is made if it is not there.

    Every commit is on the disk when it returns. Raises `sqlite3.Error` or `WrongLayout`.
    """
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS
    )
    try:
        exists = _has_meta(connection)
        if exists:
            read_meta(connection, path)  # Before anything is changed in it.
        _set_up(connection)
        if exists:
            connection.execute("UPDATE meta SET layout = ? WHERE layout < ?", (LAYOUT, LAYOUT))
        else:
            _create(connection, tables, created_at)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """A connection that reads a file and never writes or checkpoints it.

    `immutable` reads a file on a disk that lets nothing be written, without its WAL.
    """
    uri = f"file:{quote(str(path))}?mode=ro{'&immutable=1' if immutable else ''}"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def read_meta(connection: sqlite3.Connection, path: Path) -> Meta:
    """What the file says of itself; `WrongLayout` if it is not for this version."""
    (layout,) = connection.execute("SELECT layout FROM meta").fetchone()
    if not _OLDEST <= layout <= LAYOUT:
        raise WrongLayout(
            f"{path} has layout {layout} and this Headrace knows layouts {_OLDEST} to {LAYOUT}: "
            "start the version that wrote it, or point HEADRACE_HOME at another folder"
        )
    return Meta(*connection.execute("SELECT log_id, created_at FROM meta").fetchone())


def file_identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file, None if there is none: another pair is another file.

    By `stat` alone: opening and closing the file ourselves would drop SQLite's POSIX locks.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _set_up(connection: sqlite3.Connection) -> None:
    for pragma in (
        f"page_size = {_PAGE_BYTES}",
        "auto_vacuum = INCREMENTAL",
        "journal_mode = WAL",
        "synchronous = FULL",
        "fullfsync = ON",  # macOS: fsync alone leaves the bytes in the drive's cache
        "checkpoint_fullfsync = ON",
        "wal_autocheckpoint = 0",  # not inside a commit that somebody waits for
        "secure_delete = OFF",  # some builds overwrite what is deleted, a page write per page
        "cache_size = -8192",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _has_meta(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone())


def _create(connection: sqlite3.Connection, tables: tuple[str, ...], created_at: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for table in tables:
        connection.execute(table)
    connection.execute("INSERT INTO meta VALUES (1, ?, ?, ?)", (LAYOUT, uuid4().hex, created_at))
    connection.execute("COMMIT")
    # Into the file itself, where it can be read even when nothing may be written beside it.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
