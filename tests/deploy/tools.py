"""Programs that check what `deploy/` holds, where a machine has them.

Owns how they are found and run. A missing one leaves its test out with a word, as a missing server
does; in CI it is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.services.missing import leave_out

ROOT: Final = Path(__file__).resolve().parent.parent.parent
DEPLOY: Final = ROOT / "deploy"
_KEPT: Final = ROOT / ".services" / "kustomize"

_KUSTOMIZE: Final = "sigs.k8s.io/kustomize/kustomize/v4@v4.5.7"
"""The newest that Debian 12's Go builds."""
_BUILD_SECONDS: Final = 600


def find_or_none(tool: str) -> str | None:
    """The path of a program that another can stand in for."""
    return shutil.which(tool)


def find(tool: str, how: str) -> str:
    """The path of a program; leaves the test out without it."""
    return find_or_none(tool) or leave_out(tool, how)


def promtool() -> str:
    """Prometheus' own checker."""
    return find("promtool", "apt-get install prometheus")


def kustomize() -> list[str]:
    """The command that builds a kustomization, of a version that knows components."""
    if alone := find_or_none("kustomize"):
        return [alone, "build"]
    kubectl = find_or_none("kubectl")
    # Debian 12's kubectl 1.20 carries kustomize 2, which knows neither components nor labels.
    if kubectl and "--load-restrictor" in run([kubectl, "kustomize", "--help"]).stdout:
        return [kubectl, "kustomize"]
    return [_built_kustomize(), "build"]


def _built_kustomize() -> str:
    """Built once, in a minute or two, and kept."""
    kept = _KEPT / _KUSTOMIZE.rpartition("@")[2] / "kustomize"
    if not kept.exists():
        go = find("go", "install kubectl 1.21 or newer, kustomize 4 or newer, or Go 1.18 or newer")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=kept.parent) as folder:
            command = [go, "install", _KUSTOMIZE]
            done = run(command, environment={"GOBIN": folder}, seconds=_BUILD_SECONDS)
            demand_success(done)
            (Path(folder) / kept.name).rename(kept)
    return str(kept)


def run(
    command: Sequence[str],
    *,
    cwd: Path = DEPLOY,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
    seconds: float = 120,
) -> subprocess.CompletedProcess[str]:
    """What the program did and said; whether it succeeded is the caller's question."""
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def demand_success(done: subprocess.CompletedProcess[str]) -> str:
    """Its output; fails with what it said if it did not succeed."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
