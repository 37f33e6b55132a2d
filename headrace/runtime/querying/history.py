"""What was typed at the prompt, kept in HOME for the next time, for its owner's eyes alone.

Owns the file's mode and its bound. Where there is no HOME nothing is kept.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from headrace.runtime.files import write_atomically

MAX_BYTES: Final = 1 << 20
_ENTRY: Final = b"\n# "


def open_history(path: Path) -> History:
    """The history in that file; in memory where the file cannot be had."""
    if not path.parent.is_dir():
        return InMemoryHistory()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
        if path.stat().st_size > MAX_BYTES:
            write_atomically(path, _newer_half(path.read_bytes()), durable=False)
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


def _newer_half(kept: bytes) -> bytes:
    """From the first entry on that begins in it."""
    begin = kept.find(_ENTRY, len(kept) - MAX_BYTES // 2)
    return kept[begin:] if begin >= 0 else b""
