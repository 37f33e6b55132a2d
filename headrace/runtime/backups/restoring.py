"""A backup back into a HOME of its own: all of it, checked, or nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO

from headrace.runtime.backups.archive import Manifest, Progress, extract
from headrace.runtime.home import Home, HomeTrouble, check_layout


def restore_backup(backup: BinaryIO, root: Path, progress: Progress) -> Manifest:
    """Make HOME of a backup. Raises `HeadraceError`, and then there is no HOME.

    It gets its name when every file is there, is what it was, and is on the disk.
    """
    _demand_new(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    os.umask(0o077)
    beside = Path(mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        manifest = extract(backup, beside, progress)
        check_layout(Home(beside))
        os.sync()
        if root.exists():
            root.rmdir()
        beside.rename(root)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return manifest


def _demand_new(root: Path) -> None:
    """Raises `HomeTrouble` if there is something in the folder."""
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise HomeTrouble(
            f"{root} is not empty, and a backup replaces nothing: give another folder with --home"
        )
