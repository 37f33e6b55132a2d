"""A real server as a process of ours: started, frozen, killed and started again by its pid.

Owns the life of the process. What to start, and when it is ready, is each service's own file.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

READY_SECONDS: Final = 60.0


class Server(ABC):
    """A server with a folder and a port that last, and a process that may come and go."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.port = port
        self.console = root / "console.txt"
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The command line of the server, in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers right now; must not wait long."""

    def environment(self) -> Mapping[str, str]:
        """What it is started with."""
        return dict(os.environ)

    def start(self) -> Self:
        """Start it and return when it is ready."""
        self.launch()
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.command()[0]} is not ready:\n{self.said()[-3000:]}")
            time.sleep(0.05)
        return self

    def launch(self) -> None:
        """Start it and return at once."""
        with self.console.open("ab") as console:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.root,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def kill(self) -> None:
        """`kill -9`."""
        self._signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        """End it in order, by force if it takes too long. May be repeated."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        self._wait()

    def freeze(self) -> None:
        """`SIGSTOP`: it is there, takes connections, and says nothing.

        Returns when every thread of it stands still: on a busy machine some answer for a while.
        """
        self._signal(signal.SIGSTOP)
        deadline = time.monotonic() + READY_SECONDS
        while not self._stands_still():
            assert time.monotonic() < deadline, "it does not stop"
            time.sleep(0.01)

    def _stands_still(self) -> bool:
        if self.process is None or not Path("/proc/self/task").exists():
            return True
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/stat")
        try:
            return all(each.read_text().rpartition(")")[2].split()[0] in "TZX" for each in threads)
        except OSError:  # a thread that has just ended
            return False

    def thaw(self) -> None:
        """`SIGCONT`."""
        self._signal(signal.SIGCONT)

    def said(self) -> str:
        """What it wrote to its console."""
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _signal(self, number: signal.Signals) -> None:
        # The whole group: some servers work in children.
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def _wait(self) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)
