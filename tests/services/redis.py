"""A real Redis (or Valkey) for tests, with a file or without.

Tests isolate themselves by a key prefix of their own. Those that flush, kill or freeze a server
start one of their own: `RedisServer(tmp_path)`.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.services.missing import leave_out
from tests.services.ports import free_port
from tests.services.server import Server

_PROGRAMS: Final = ("redis-server", "valkey-server")
_FILES: Final = "appendonlydir"


class RedisServer(Server):
    """One server. Without `appendonly` a restart begins with nothing."""

    def __init__(
        self,
        root: Path,
        port: int | None = None,
        *,
        appendonly: bool = False,
        maxmemory_policy: str = "noeviction",
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(root, port or free_port())
        self.program = program()
        self.appendonly = appendonly
        self.maxmemory_policy = maxmemory_policy
        self.options = options

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str]:
        return [
            self.program,
            *("--bind", "127.0.0.1"),
            *("--port", str(self.port)),
            *("--dir", str(self.root)),
            *("--save", ""),
            *("--appendonly", "yes" if self.appendonly else "no"),
            *("--maxmemory-policy", self.maxmemory_policy),
            *self.options,
        ]

    def is_ready(self) -> bool:
        return self.say("PING", seconds=1).startswith(("+PONG", "-NOAUTH"))

    def say(self, *words: str, seconds: float = 20) -> str:
        """Send one command on a connection of its own; the first line of the answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
                parts = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
                connection.sendall(f"*{len(words)}\r\n{parts}".encode())
                with connection.makefile("rb") as answer:
                    return answer.readline().decode().rstrip()
        except OSError:
            return ""

    def lose_file(self) -> None:
        """Delete what a stopped server would begin with."""
        shutil.rmtree(self.root / _FILES, ignore_errors=True)


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests that only add keys under prefixes of their own."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


def program() -> str:
    """Which server is installed; a test that has none is left out."""
    found = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        leave_out("Redis", "install redis-server (Debian: apt-get install redis-server)")
    return found
