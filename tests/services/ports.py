"""Ports of 127.0.0.1 for servers that the tests start, stop and start again.

Owns that nobody else takes them meanwhile. A port that the system gives to whoever asks for any
(`bind` to 0, or an outgoing connection) may go to somebody else while its server is down, so these
lie below the range that it gives away.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Final

_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST: Final = 10_000
_USUAL_END: Final = 32_768
_LEAST: Final = 1_000
_given: set[int] = set()
# Its own: a seeded test must not hand out the same ports as another process with that seed.
_chance: Final = random.SystemRandom()


def free_port() -> int:
    """A port that nobody listens on, never given twice by this process."""
    end = _end()
    while True:
        port = _chance.randrange(_FIRST, end)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def free_ports(count: int) -> list[int]:
    """Several, all different."""
    return [free_port() for _ in range(count)]


def _end() -> int:
    """The first port that the system gives away, where it leaves enough below it."""
    try:
        first = int(_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL_END
    return first if first >= _FIRST + _LEAST else _USUAL_END


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
