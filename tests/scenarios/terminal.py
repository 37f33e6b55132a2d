"""A terminal for tests: a program that has one, what it shows, and keys to press."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping

from tests.scenarios.node import PATIENCE_SECONDS

CTRL_C = b"\x03"
CTRL_Z = b"\x1a"
# Opening a terminal in a session without one makes it the session's controlling terminal.
_LAUNCH = """
import os, sys
terminal = os.open(sys.argv[1], os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(terminal, descriptor)
os.execvp(sys.argv[2], sys.argv[2:])"""


class Terminal:
    """A program in a session of its own on a terminal of its own."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self.process = process
        self.shown = ""

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def foreground(self) -> int:
        """The process group that the keys go to."""
        return os.tcgetpgrp(self._master)

    def until_shown(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.shown!r}"
            if select.select([self._master], [], [], 0.1)[0]:
                self._read()

    def end(self) -> int:
        """Read until the program has ended; its exit code."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it did not end; {self.shown!r}"
            if select.select([self._master], [], [], 0.05)[0]:
                self._read()
        return self.process.returncode

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # nobody has the other side open any more
            self.shown += os.read(self._master, 65536).decode(errors="replace")


@contextlib.contextmanager
def on_terminal(
    environment: Mapping[str, str], *command: str, size: tuple[int, int] = (0, 0)
) -> Iterator[Terminal]:
    """Run a command with a terminal of so many lines and columns, gone when the block ends."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, size)
    name = os.ttyname(slave)
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCH, name, *command],
        env=dict(environment),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield Terminal(master, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(slave)
        os.close(master)
