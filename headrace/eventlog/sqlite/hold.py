"""Keeping the log from forgetting settled records, for as long as a copy of it is being made.

A copy is made of positions, tables and log one after the other: what was settled meanwhile must
still be in the log when its turn comes. A lock on a file beside the log, which ends with the
process that holds it, however it ends. Only the reuse of room waits for it, no append.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(log: Path) -> Iterator[None]:
    """From now on nothing is forgotten. One that was about to forget something may still do so."""
    descriptor = os.open(_file(log), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            _file(log).unlink()


def is_held(log: Path) -> bool:
    """Whether somebody makes a copy."""
    try:
        descriptor = os.open(_file(log), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _file(log: Path) -> Path:
    return log.with_name(log.name + "-hold")
