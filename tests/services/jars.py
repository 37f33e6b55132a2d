"""Jars that a `pom.xml` names, fetched by Maven once, into `.services/`."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.services.missing import leave_out

CACHE: Final = Path(__file__).resolve().parent.parent.parent / ".services"
_HOW: Final = "install Java 17+ and Maven (Debian: default-jdk-headless maven)"
_FETCH_SECONDS: Final = 300


def fetch_jars(service: str, pom: Path) -> Path:
    """The folder with the jars, fetched if this machine has never had them."""
    if not (shutil.which("java") and shutil.which("mvn")):
        leave_out(service, _HOW)
    name = service.lower().replace(" ", "-")
    jars = CACHE / f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs may come at once
        if not jars.exists():
            _fetch_into(jars, service, pom)
    return jars


def _fetch_into(jars: Path, service: str, pom: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        fetched = subprocess.run(
            [
                *["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"],
                *["-DincludeScope=runtime", f"-DoutputDirectory={folder}/jars"],
            ],
            capture_output=True,
            text=True,
            timeout=_FETCH_SECONDS,
            env={**os.environ, "MAVEN_OPTS": "-Xmx256m"},
        )
        if fetched.returncode != 0:
            leave_out(service, f"let Maven fetch its jars: {fetched.stdout[-500:]}")
        (Path(folder) / "jars").rename(jars)
