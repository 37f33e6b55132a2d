"""Freed memory goes back to the system.

Owns two settings of glibc's allocator. By default it keeps the memory of large blocks it has
freed once, in pieces of up to 32 MiB per thread: after forty bodies of 10 MiB a collector with
nothing left to do held 218 MiB, where it now holds a fraction of that.

Blocks of 1 MiB and more are mapped by themselves and given back when they are freed. A lower bound
maps what every batch needs (256 KB for each piece that arrives, 350 KB for a body) anew each time,
page by page: with 128 KiB a batch of 1,000 cost 7.6 ms of CPU, with 1 MiB 6.1. For the same
reason up to 8 MiB that are free at the end of the heap stay: with 2 MiB each batch of 1,000
brought 120 page faults, with 8 MiB six.
"""

from __future__ import annotations

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
_LARGE_BYTES: Final = 1024 * 1024
_TRIMMED_BYTES: Final = 8 * 1024 * 1024


def return_freed_memory() -> None:
    """For the whole process. Other allocators than glibc's are left as they are."""
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    set_option(_MMAP_THRESHOLD, _LARGE_BYTES)
    set_option(_TRIM_THRESHOLD, _TRIMMED_BYTES)
    set_option(_ARENA_MAX, 2)
