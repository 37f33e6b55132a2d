"""One of Headrace's programs as a process of its own: `headrace collector|processor|store`.

Owns its HOME, its address and its environment, which last, and whether it answers. Killing,
freezing and starting again are every `Server`'s.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx2
import psutil

from tests.scenarios.node import HEADRACE, clean_environment
from tests.services.ports import free_port
from tests.services.server import Server

GRACE_SECONDS: Final = 30.0
_LISTEN: Final = {
    "collector": "HEADRACE_LISTEN",
    "processor": "HEADRACE_PROCESSOR_LISTEN",
    "store": "HEADRACE_STORE_LISTEN",
}
_ANSWERS_AT: Final = {"collector": "/livez", "processor": "/metrics", "store": "/ping"}


class Program(Server):
    """`variables` are its own settings; `temporary` ones last until the cluster is mended."""

    def __init__(self, root: Path, kind: str, shared: Mapping[str, str]) -> None:
        root.mkdir(parents=True, exist_ok=True)
        super().__init__(root, free_port())
        self.kind = kind
        self.variables: dict[str, str] = {}
        self.temporary: dict[str, str] = {}
        self._shared = shared

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def rss_bytes(self) -> int:
        """The memory it holds right now."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def command(self) -> Sequence[str]:
        return [HEADRACE, self.kind]

    def environment(self) -> Mapping[str, str]:
        return clean_environment(
            **{
                **self._shared,
                "HEADRACE_HOME": str(self.home),
                _LISTEN[self.kind]: f"127.0.0.1:{self.port}",
                **self.variables,
                **self.temporary,
            }
        )

    def is_ready(self) -> bool:
        return self.status(_ANSWERS_AT[self.kind]) == 200

    def status(self, path: str, *, seconds: float = 5.0) -> int:
        """What it answers there; 0 for no answer."""
        try:
            return httpx2.get(f"{self.url}{path}", timeout=seconds, trust_env=False).status_code
        except httpx2.TransportError:
            return 0

    def waits(self) -> str:
        """What its metrics tell of tries that failed and of its lag, if it answers."""
        try:
            text = httpx2.get(f"{self.url}/metrics", timeout=5.0, trust_env=False).text
        except httpx2.TransportError as error:
            return repr(error)
        told = [line for line in text.splitlines() if re.match(r"headrace_.*(retries|lag)", line)]
        return "\n".join(line for line in told if not line.endswith(" 0.0"))

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Another `headrace` command in the same environment, and these variables."""
        return subprocess.run(
            [HEADRACE, *arguments],
            env={**self.environment(), **variables},
            capture_output=True,
            text=True,
            timeout=90,
        )

    def end(self, *, times: int = 1, seconds: float = GRACE_SECONDS) -> int:
        """`SIGTERM`, as often as told; its exit code. Fails if it does not end in time."""
        assert self.process is not None
        for _ in range(times):
            self.process.send_signal(signal.SIGTERM)
        return self.exit_code(seconds)

    def exit_code(self, seconds: float = GRACE_SECONDS) -> int:
        """Wait for its end."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.kind} did not end in {seconds:.0f} s:\n{self.said()[-3000:]}"
            ) from None
