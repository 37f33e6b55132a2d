"""SQLite's errors in our three shapes.

Which one it is decides what the client is told: `Overloaded` promises that nothing was stored,
so it is said only where that is certain.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from headrace.schemas.errors import HeadraceError, Overloaded, Unavailable

RETRY_SECONDS: Final = 5.0
"""What clients are told to wait while the disk is full or cannot be written."""

_PRIMARY: Final = 0xFF  # Extended codes carry the primary one in their low byte.
_NO_ROOM: Final = frozenset({sqlite3.SQLITE_FULL})
# The file cannot be opened or written at all, or somebody else is writing it: nothing was done.
_NOT_DONE: Final = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }
)


def translate(error: sqlite3.Error, *, file: str, committing: bool) -> HeadraceError:
    """What `error` means to a caller; `committing` if a COMMIT may have taken effect.

    A full disk at a COMMIT is certain too: the commit mark is in the last frame written, and a
    frame that did not get into the WAL whole has no valid checksum.
    """
    code = primary_code(error)
    if code in _NO_ROOM:
        return Overloaded(
            f"the disk of {file} is full; free some space, the log goes on by itself",
            retry_after=RETRY_SECONDS,
        )
    if code in _NOT_DONE or not committing:
        return Overloaded(
            f"{file} cannot be written ({describe(error)}); check the disk and its permissions",
            retry_after=RETRY_SECONDS,
        )
    return Unavailable(f"whether the commit to {file} took effect is unknown ({describe(error)})")


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its extension; 0 if the error came from the driver."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


def describe(error: sqlite3.Error) -> str:
    """The code's name and the message, for a log line."""
    return f"{getattr(error, 'sqlite_errorname', type(error).__name__)}: {error}"
