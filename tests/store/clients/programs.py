"""The programs beside this file, each with its client fetched once and kept in `.services/`."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from tests.services.jars import CACHE, fetch_jars
from tests.services.missing import leave_out
from tests.store.server_fixture import ANALYST, PASSWORD, StoreServer

_HERE: Final = Path(__file__).parent
_FETCH_SECONDS: Final = 400
_RUN_SECONDS: Final = 120
_WHO: Final = (ANALYST, PASSWORD, "ws_one")


def ask_by_node(server: StoreServer, compression: str) -> dict[str, Any]:
    """What `node/ask.mjs` prints."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        leave_out("Node", "install Node 20 or newer, with npm")

    def fetch(folder: Path) -> None:
        for file in (_HERE / "node").iterdir():
            if file.is_file():
                shutil.copy(file, folder)
        _fetch("Node", [npm, "ci", "--no-audit", "--no-fund"], folder)

    program = _kept("node", _HERE / "node", fetch) / "ask.mjs"
    return _json([node, str(program), server.url, *_WHO, compression])


def ask_by_go(server: StoreServer, compression: str) -> dict[str, Any]:
    """What `go/main.go` prints."""
    go = shutil.which("go")
    if not go:
        leave_out("Go", "install Go 1.26 or newer (from 1.21 on it fetches a newer one by itself)")

    def build(folder: Path) -> None:
        _fetch("Go", [go, "build", "-o", str(folder / "ask"), "."], _HERE / "go")

    program = _kept("go", _HERE / "go", build) / "ask"
    return _json([str(program), f"127.0.0.1:{server.port}", *_WHO, compression])


def ask_by_jdbc(server: StoreServer) -> dict[str, str]:
    """What `java/Ask.java` prints."""
    if not shutil.which("javac"):
        leave_out("JDBC", "install a JDK 17+ and Maven (Debian: default-jdk-headless maven)")
    jars = fetch_jars("JDBC", _HERE / "java" / "pom.xml")
    command = ["java", "-Xmx256m", "-cp", f"{jars}/*", str(_HERE / "java" / "Ask.java")]
    said = _run([*command, f"jdbc:clickhouse://127.0.0.1:{server.port}/ws_one", *_WHO[:2]])
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def _kept(name: str, source: Path, make: Callable[[Path], None]) -> Path:
    """A folder that `make` has filled, made anew when a source file has changed."""
    digest = hashlib.sha256()
    for file in sorted(each for each in source.iterdir() if each.is_file()):
        digest.update(file.read_bytes())
    folder = CACHE / f"client-{name}-{digest.hexdigest()[:12]}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"client-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may come at once
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as made:
                make(Path(made))
                shutil.copytree(made, folder)
    return folder


def _fetch(service: str, command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_FETCH_SECONDS
    )
    if done.returncode != 0:
        leave_out(service, f"let it fetch its client: {(done.stdout + done.stderr)[-500:]}")


def _json(command: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_run(command))
    return found


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_RUN_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
