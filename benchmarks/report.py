"""How a benchmark says what it found: machine, load, result, ceiling and their ratio.

Prints a table for people and appends one JSON object a run to `benchmarks/results/<name>.jsonl`.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Final

import msgspec

RESULTS: Final = Path(__file__).parent / "results"
PACKAGES: Final = ("headrace", "uvicorn", "starlette", "msgspec", "chdb", "clickhouse-connect")


class Line(msgspec.Struct):
    """One measured thing, and the ceiling that the same run found for it."""

    what: str
    result: float
    unit: str
    ceiling: float | None = None
    goal: str = ""

    @property
    def ratio(self) -> str:
        """Result over ceiling, as a percentage."""
        return f"{self.result / self.ceiling:.0%}" if self.ceiling else ""


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "cpu": f"{os.cpu_count()} x {model}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **versions,
    }


def report(name: str, lines: list[Line]) -> None:
    """Print the table and keep the JSON."""
    on = machine()
    print(f"\n{name}: {on['cpu']}, Python {on['python']}, headrace {on['headrace']}")
    print(f"{'what':58} {'result':>12} {'unit':14} {'ceiling':>12} {'ratio':>6}  goal")
    for line in lines:
        ceiling = f"{line.ceiling:,.1f}" if line.ceiling else ""
        print(
            f"{line.what:58} {line.result:>12,.1f} {line.unit:14} {ceiling:>12} {line.ratio:>6}"
            f"  {line.goal}"
        )
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("ab") as file:
        file.write(msgspec.json.encode({"machine": on, "lines": lines}) + b"\n")
