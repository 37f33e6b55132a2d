"""HOME: the folder of everything a node keeps, its layout's version, and who may use it.

Owns the names of the files, the version check and the locks. What is in the files belongs to
whoever writes them: `credentials.py`, `node_state.py`, the log, the store, the control data.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from datetime import datetime
from pathlib import Path
from typing import Final, Self

import msgspec

from headrace.runtime.files import read_json, write_atomically
from headrace.schemas.errors import HeadraceError

LAYOUT: Final = 1
"""Raised when a file in HOME changes in a way that an older Headrace cannot read."""


class HomeTrouble(HeadraceError):
    """HOME cannot be used as it is; the message says why and what to do."""


class Version(msgspec.Struct, frozen=True):
    """What is in `version.json`."""

    layout: int
    version: str


class Holder(msgspec.Struct, frozen=True):
    """What is in a lock file: who holds it, and since when."""

    pid: int
    since: datetime


class Home(msgspec.Struct, frozen=True):
    """Where everything is in a node's folder."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def version(self) -> Path:
        return self.root / "version.json"

    @property
    def credentials(self) -> Path:
        return self.root / "credentials.json"

    @property
    def processor(self) -> Path:
        return self.root / "processor.json"

    @property
    def control(self) -> Path:
        return self.root / "control.sqlite"

    @property
    def control_url(self) -> str:
        return f"sqlite:///{self.control}"

    @property
    def kept_snapshot(self) -> Path:
        """Of control data that is elsewhere: what was last known of it."""
        return self.root / "run" / "control-snapshot.json"

    @property
    def log(self) -> Path:
        return self.root / "log.sqlite"

    @property
    def positions(self) -> Path:
        return self.root / "positions.sqlite"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def log_file(self) -> Path:
        return self.root / "logs" / "headrace.log"

    @property
    def query_history(self) -> Path:
        """What was typed at the prompt of `headrace query`."""
        return self.root / "query_history"

    @property
    def node_state(self) -> Path:
        return self.root / "run" / "node.json"

    def process_lock(self, process: str) -> Path:
        return self.root / "run" / f"{process}.lock"


def open_home(root: Path, *, version: str) -> Home:
    """Make the folder if it is not there, readable by its owner alone, and check its layout.

    Raises `HomeTrouble` if it cannot be written or belongs to a newer Headrace.
    """
    home = Home(root)
    os.umask(0o077)  # what this process writes is its owner's alone, also in a folder that is not
    try:
        for folder in (root, home.log_file.parent, home.node_state.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        check_layout(home)
        if not home.version.exists():
            write_atomically(home.version, msgspec.json.encode(Version(LAYOUT, version)))
    except OSError as error:
        raise _unusable(home, error) from error
    return home


def check_layout(home: Home) -> None:
    """Raise `HomeTrouble` if HOME was made by a newer Headrace than this one."""
    found = read_json(home.version, Version)
    if found is None or found.layout <= LAYOUT:
        return
    raise HomeTrouble(
        f"{home.root} was made by headrace {found.version} (layout {found.layout}); this older "
        f"headrace reads layouts up to {LAYOUT}. Install headrace {found.version} or newer, or "
        "choose another folder with HEADRACE_HOME."
    )


class Lock:
    """A lock on a file that ends with the process that holds it, however it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path, now: datetime) -> Self | None:
        """The lock, or None if another process holds it. Raises `HomeTrouble`."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(Home(path.parent), error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only nameless
            os.ftruncate(descriptor, 0)
            os.write(descriptor, msgspec.json.encode(Holder(os.getpid(), now)))
        return cls(descriptor)

    def release(self) -> None:
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock right now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def in_use(home: Home, lock: Path) -> HomeTrouble:
    """The sentence for a HOME, or a part of it, that another process works on."""
    holder = read_json(lock, Holder)
    who = "another process" if holder is None else f"process {holder.pid}"
    since = "" if holder is None else f" (since {holder.since:%Y-%m-%d %H:%M:%S} UTC)"
    return HomeTrouble(
        f"{home.root} is in use by {who}{since}. Stop it first, or choose another folder with "
        "HEADRACE_HOME."
    )


def _unusable(home: Home, error: OSError) -> HomeTrouble:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            advice = "The disk is full: make room, or choose another folder with HEADRACE_HOME."
        case errno.EACCES | errno.EPERM | errno.EROFS:
            advice = "Make it writable for this user, or choose another with HEADRACE_HOME."
        case errno.EEXIST | errno.ENOTDIR:
            advice = "There is a file in the way: choose another folder with HEADRACE_HOME."
        case _:
            advice = "Choose another folder with HEADRACE_HOME."
    return HomeTrouble(f"cannot use {home.root} as HOME ({error.strerror}). {advice}")
