"""Disk space kept back, so that a full disk does not stop us from making room.

Deleting needs space too: frames in the WAL, and a checkpoint that makes the file grow. So a
file of some MiB lies beside the log. It is removed when the disk is full, which lets retention
go on, and appends wait until it could be made again: whoever can make it has room to append.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

RESERVE_BYTES: Final = 32 * 1024 * 1024
_SHARE_OF_DISK: Final = 8


class Reserve:
    """The file, taken or given up. Not safe for several threads."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        self._path = path
        self._size = size

    def take(self) -> bool:
        """Make the file if it is not there whole; False if there is no room for it."""
        try:
            return self._is_whole() or self._make()
        except OSError:
            self.give_up()
            return False

    def give_up(self) -> None:
        """Remove the file: its space is free for whoever needs it first."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    @property
    def size(self) -> int:
        """Bytes to keep back: `RESERVE_BYTES`, on a tiny disk a share of it."""
        if self._size is None:
            disk = os.statvfs(self._path.parent)
            self._size = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // _SHARE_OF_DISK)
        return self._size

    def share(self, at_most: int) -> int:
        """Bytes that may be written at a time, so that the reserve makes good for some of it."""
        return min(at_most, self.size // 4)

    def _is_whole(self) -> bool:
        return self._path.exists() and self._path.stat().st_size == self.size

    def _make(self) -> bool:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._fill(descriptor)
        finally:
            os.close(descriptor)
        return True

    def _fill(self, descriptor: int) -> None:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, self.size)
            return
        written = 0  # macOS has no posix_fallocate
        while written < self.size:
            written += os.write(descriptor, bytes(min(1024 * 1024, self.size - written)))
