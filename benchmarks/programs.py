"""Programs that a benchmark starts and ends: a node, one of its processes, a bare server.

Everything listens on 127.0.0.1, on ports the system gave, and keeps its data in a folder that
is removed at the end. Only processes started here are ended, by their id.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import clickhouse_connect
import msgspec
import psutil
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from benchmarks.load import Load
from headrace.runtime.clock import SystemClock
from headrace.runtime.credentials import read_credentials
from headrace.runtime.first_start import complete_home
from headrace.runtime.home import Home, open_home
from headrace.runtime.node_state import read_node_state
from headrace.runtime.settings import read_settings
from headrace.runtime.version import headrace_version
from headrace.workspaces.database import ControlData
from headrace.workspaces.port import Scope
from tests.services.ports import free_port

UNLIMITED: Final = 10_000_000
"""The highest limit a workspace may have: requests per minute no client here reaches."""
PARTS: Final = ("store", "collector", "processor")
HEADRACE: Final = str(Path(sys.executable).parent / "headrace")


class Place(msgspec.Struct, frozen=True):
    """A prepared HOME with a workspace of no limit."""

    home: Home
    environment: dict[str, str]
    port: int
    store_port: int
    key: str


@contextlib.contextmanager
def prepared_home(**settings: str) -> Iterator[Place]:
    """A new HOME, its ports, and a key of a workspace without a limit."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    try:
        with home_in(folder, **settings) as place:
            yield place
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def home_in(folder: Path, **settings: str) -> Iterator[Place]:
    """The HOME in a folder, made if it is not there, on ports of this run; the folder stays."""
    port, store_port = free_port(), free_port()
    home = open_home(folder, version=headrace_version())
    control = ControlData.open(home.control_url, SystemClock())
    complete_home(
        home, control, read_settings({"HEADRACE_STORE_LISTEN": f"127.0.0.1:{store_port}"})
    )
    known = [each for each in control.list_workspaces() if each.name == "bench"]
    workspace = (
        known[0] if known else control.create_workspace("bench", requests_per_minute=UNLIMITED)
    )
    key = control.create_key(workspace, scopes=(Scope.INGEST,), name="bench")
    control.close()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")},
        "HEADRACE_HOME": str(folder),
        "HEADRACE_LISTEN": f"127.0.0.1:{port}",
        "HEADRACE_STORE_LISTEN": f"127.0.0.1:{store_port}",
        "HEADRACE_LOG_LEVEL": "warning",
        **settings,
    }
    yield Place(home, environment, port, store_port, key)


def operator(place: Place, seconds: float = 60) -> Client:
    """A connection that reads everything; waits for the store and its tables."""
    login = read_credentials(place.home).clickhouse
    deadline = time.monotonic() + seconds
    while True:
        try:
            client = clickhouse_connect.get_client(
                host="127.0.0.1",
                port=place.store_port,
                username=login.user,
                password=login.password,
                database=login.database,
                autogenerate_session_id=False,
            )
            client.query("SELECT 1 FROM events_rows LIMIT 1")
        except ClickHouseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return client


def wait_until_ready(place: Place, seconds: float = 60) -> None:
    """Until all processes of the node are: its collector is long before its processor."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = read_node_state(place.home)
        if state is not None and all(each.ready for each in state.processes):
            return
        time.sleep(0.05)
    raise TimeoutError(f"the node in {place.home.root} is not ready after {seconds:g} s")


@contextlib.contextmanager
def running(
    command: list[str], environment: dict[str, str], *, url: str | None = None
) -> Iterator[psutil.Process]:
    """The program, answering at `url`; ended by SIGTERM, then SIGKILL."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            if url:
                _wait_for(url, process)
            yield psutil.Process(process.pid)
        except BaseException:
            output.seek(0)
            sys.stderr.write(output.read().decode(errors="replace")[-2_000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing answered at {url}")


class Measured(msgspec.Struct, frozen=True):
    """A load and what it cost the server: CPU seconds of its process and children."""

    load: Load
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.load.requests / self.load.seconds

    @property
    def cpu_us_per_request(self) -> float:
        return self.cpu_seconds / max(self.load.requests, 1) * 1e6


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process and what it started."""
    times = [process.cpu_times(), *(child.cpu_times() for child in process.children())]
    return sum(each.user + each.system for each in times)


def parts_of(node: psutil.Process, seconds: float = 30) -> dict[str, psutil.Process]:
    """The processes of `headrace up` by name, once all three are there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found: dict[str, psutil.Process] = {}
        for child in node.children():
            words = child.cmdline()
            found |= {name: child for name in PARTS if name in words}
        if len(found) == len(PARTS):
            return found
        time.sleep(0.05)
    raise SystemExit(f"of {', '.join(PARTS)} only {', '.join(found) or 'none'} was started")


def measure(
    server: psutil.Process, port: int, requests: list[bytes], *, connections: int, seconds: float
) -> Measured:
    """Drive the server from a process of its own and count the server's CPU meanwhile."""
    before = cpu_seconds(server)
    load = send(port, requests, connections=connections, seconds=seconds)
    return Measured(load, cpu_seconds(server) - before)


def send(port: int, requests: list[bytes], *, connections: int, seconds: float) -> Load:
    """Run the load generator in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", str(port), str(connections), str(seconds)],
        input=msgspec.msgpack.encode(requests),
        stdout=subprocess.PIPE,
        check=True,
        timeout=seconds + 60,
    )
    return msgspec.json.decode(done.stdout, type=Load)
