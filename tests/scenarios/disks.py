"""A small disk of its own for a folder: a tmpfs, which can be filled by others and emptied."""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, Self

from tests.services.missing import leave_out

_LAST_BYTES: Final = 24 * 1024 * 1024


class SmallDisk:
    """Mounted on `folder` for as long as the block lasts."""

    def __init__(self, folder: Path, mebibytes: int) -> None:
        self.folder = folder
        self._size = f"size={mebibytes}m"
        self._filler = folder / "filler"

    def __enter__(self) -> Self:
        if not can_mount():
            leave_out("a disk that can be filled", "run as a user who may mount a tmpfs")
        self.folder.mkdir(parents=True, exist_ok=True)
        _mount(self.folder, self._size)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", self.folder], check=True)

    def fill(self) -> None:
        """Take all the room there is, the last of it a moment later: whoever keeps something free
        has noticed by then (a merge of the store's that meets a full disk is broken by it)."""
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as filler:
            while shutil.disk_usage(self.folder).free > _LAST_BYTES:
                filler.write(bytes(65536))
            time.sleep(1.0)
            while True:
                filler.write(bytes(4096))

    def make_room(self) -> None:
        self._filler.unlink()


@functools.cache
def can_mount() -> bool:
    """Whether this user may mount a tmpfs on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            _mount(Path(folder), "size=1m")
        except (subprocess.CalledProcessError, FileNotFoundError):
            return False
        subprocess.run(["umount", folder], check=True)
    return True


def _mount(folder: Path, size: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
