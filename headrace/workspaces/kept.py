"""The last snapshot in a file, for a process that starts while control data cannot be reached.

Owns the file: fingerprints of keys and passwords, never themselves; its owner's alone (0600);
replaced whole. It says which database it is of, and is not used for another.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog

from headrace.workspaces.port import ApiKey, Log, StoreUser
from headrace.workspaces.snapshot import Snapshot, take_snapshot

_LAYOUT: Final = 1
"""Raised when an older Headrace could not read the file, or would misread it."""

log = structlog.get_logger(__name__)


class Kept(msgspec.Struct, frozen=True):
    """What is in the file."""

    layout: int
    place: str
    taken_at: datetime
    revision: int
    keys: list[ApiKey]
    store_users: list[StoreUser]
    logs: list[Log]

    @property
    def snapshot(self) -> Snapshot:
        """Ready for look-up, as it was."""
        return take_snapshot(self.revision, self.keys, self.store_users, self.logs)


class KeptSnapshot:
    """The file at `path` for the database at `place`. Blocks; raises nothing."""

    def __init__(self, path: Path, place: str) -> None:
        self._path = path
        self._place = place

    def write(self, snapshot: Snapshot, now: datetime) -> None:
        """Replace what was kept; a disk that takes nothing is only said."""
        kept = Kept(
            layout=_LAYOUT,
            place=self._place,
            taken_at=now,
            revision=snapshot.revision,
            keys=list(snapshot.keys.values()),
            store_users=list(snapshot.store_users.values()),
            logs=list(snapshot.logs.values()),
        )
        try:
            _replace(self._path, msgspec.json.encode(kept))
        except OSError as error:
            log.warning(
                "the snapshot of control data cannot be kept; a process that starts while the "
                "database is away would start from an older one, or not at all",
                file=str(self._path),
                error=str(error),
            )

    def read(self) -> Kept | None:
        """What was kept of this database, if anything."""
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=Kept)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            self._say_unusable(str(error))
            return None
        if kept.layout != _LAYOUT or kept.place != self._place:
            self._say_unusable(f"it is of {kept.place}, layout {kept.layout}")
            return None
        return kept

    def _say_unusable(self, why: str) -> None:
        log.warning("a kept snapshot of control data is not used", file=str(self._path), why=why)


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")  # several processes share a HOME
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise
