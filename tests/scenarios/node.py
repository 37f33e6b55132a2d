"""A real node for tests: `headrace up` on free ports with a HOME of its own.

Owns starting, killing and asking it. `conftest.py` has the fixtures.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import clickhouse_connect
import httpx2
import psutil
from clickhouse_connect.driver.client import Client

from headrace.runtime.credentials import Credentials, read_credentials, read_processor_login
from headrace.runtime.home import Home
from headrace.runtime.node_state import NodeState, read_node_state
from headrace.workspaces.database import ControlData
from headrace.workspaces.port import Workspace
from tests.services.ports import free_port

HEADRACE: Final = str(Path(sys.executable).parent / "headrace")
PROCESSES: Final = ("store", "processor", "collector")
PATIENCE_SECONDS: Final = 60.0
READY: Final = "Headrace is ready"
IN_FORCE_SECONDS: Final = 1.0
"""What is promised for changes of control data, to a machine that has time for it."""


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Poll until the condition holds; its value. Says `what` was waited for in vain."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.02)
    return value


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of Headrace, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return kept | more


def server_of(home: Home) -> str:
    """HEADRACE_CLICKHOUSE for the embedded store of this HOME."""
    login = read_processor_login(home)
    who = f"{quote(login.user, safe='')}:{quote(login.password, safe='')}"
    return f"http://{who}@{login.url.removeprefix('http://')}/{login.database}"


class Node:
    """A node's HOME and addresses, which last, and the processes that run on them."""

    def __init__(self, root: Path, **environment: str) -> None:
        self.home = Home(root / "home")
        self.console = root / "console.txt"
        self.listen = f"127.0.0.1:{free_port()}"
        self.store_listen = f"127.0.0.1:{free_port()}"
        self.environment = clean_environment(
            HEADRACE_HOME=str(self.home.root),
            HEADRACE_LISTEN=self.listen,
            HEADRACE_STORE_LISTEN=self.store_listen,
            **environment,
        )
        self.process: subprocess.Popen[bytes] | None = None

    # life

    def start(self) -> Node:
        """Run `headrace up` and return when it says that it is ready."""
        begun = self.console.stat().st_size if self.console.exists() else 0
        process = self.launch()
        until(
            lambda: READY in self.said(begun) or process.poll() is not None,
            f"the node is ready; it said: {self.said(begun)}",
        )
        assert process.poll() is None, self.said(begun)
        return self

    def launch(self) -> subprocess.Popen[bytes]:
        """Run `headrace up` and return at once."""
        with self.console.open("ab") as console:
            self.process = subprocess.Popen(
                [HEADRACE, "up"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        return self.process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another `headrace` command on the same HOME."""
        return subprocess.run(
            [HEADRACE, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell the node to end; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def kill_all(self) -> None:
        """`kill -9` of the whole node at once."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_SECONDS)

    def said(self, begun: int = 0) -> str:
        """What it wrote to the console (from a byte on)."""
        return self.console.read_bytes()[begun:].decode(errors="replace")

    # what it is

    @property
    def url(self) -> str:
        return f"http://{self.listen}"

    @property
    def credentials(self) -> Credentials:
        return read_credentials(self.home)

    @property
    def as_server(self) -> str:
        """HEADRACE_CLICKHOUSE of others whose tables are in this node's store."""
        return server_of(self.home)

    @property
    def state(self) -> NodeState:
        found = read_node_state(self.home)
        assert found is not None, "the node does not run"
        return found

    def pids(self) -> dict[str, int | None]:
        """The pid of each of its processes right now."""
        return {process.name: process.pid for process in self.state.processes}

    def pid(self, name: str) -> int:
        return int(until(lambda: self.pids()[name], f"{name} runs"))

    def until_ready(self) -> None:
        """Return when all three processes are ready."""
        until(lambda: all(each.ready for each in self.state.processes), "all are ready")

    def workspace(self, name: str, requests_per_minute: int = 10_000_000) -> tuple[Workspace, str]:
        """A new workspace that may send as much as it likes, and a key that is in force."""
        with contextlib.closing(ControlData.open(self.home.control_url)) as control:
            workspace = control.create_workspace(name, requests_per_minute=requests_per_minute)
            key = control.create_key(workspace)
        until_in_force(key, self.url)
        return workspace, key

    # what it knows

    def clickhouse(self) -> Client:
        """A client of the store as the operator."""
        login = self.credentials.clickhouse
        host, _, port = self.store_listen.partition(":")
        return clickhouse_connect.get_client(
            host=host,
            port=int(port),
            username=login.user,
            password=login.password,
            database=login.database,
            autogenerate_session_id=False,
        )

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of a query as the operator, for as long as the store may be down."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with contextlib.closing(self.clickhouse()) as client:
                    return [tuple(row) for row in client.query(sql, parameters).result_rows]
            except clickhouse_connect.driver.exceptions.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def until_settled(self) -> None:
        """Return when everything accepted so far is settled."""
        from headrace.eventlog.sqlite.inspect import inspect_log

        def settled() -> bool:
            state = inspect_log(self.home.log, self.home.positions)
            return state is not None and state.unsettled == 0

        until(settled, "everything is settled")


@contextlib.contextmanager
def nodes(root: Path) -> Iterator[Callable[..., Node]]:
    """A maker of nodes, all of which are gone when the block ends."""
    made: list[Node] = []

    def make(**environment: str) -> Node:
        folder = root / f"node{len(made)}"
        folder.mkdir()
        made.append(Node(folder, **environment))
        return made[-1]

    try:
        yield make
    finally:
        for node in made:
            if node.process is not None and node.process.poll() is None:
                children = psutil.Process(node.process.pid).children(recursive=True)
                node.process.kill()
                node.process.wait()
                for child in children:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()


def until_in_force(key: str, *urls: str) -> None:
    """Return when every collector of these that answers at all knows the key.

    Not asked before the time that is promised: a peer that keeps failing is answered ever later.
    """
    time.sleep(IN_FORCE_SECONDS)
    until(lambda: not any(_is_unknown(url, key) for url in urls), f"{urls} know the key")


def _is_unknown(url: str, key: str) -> bool:
    # Asked for what the key may not do, which no limit counts.
    try:
        return post(f"{url}/v1/rejected/replay", key, {}).status_code == 401
    except httpx2.TransportError:
        return False


def post(url: str, key: str, body: Any, **headers: str) -> httpx2.Response:
    """One request to a collector."""
    return httpx2.post(
        url, json=body, headers={"Authorization": f"Bearer {key}", **headers}, timeout=30.0
    )
