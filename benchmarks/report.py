"""How a benchmark says what it found: machine, load, result, ceiling and their ratio.

Prints a table for people, appends one JSON object a run to `benchmarks/results/<name>.jsonl` and
draws the runs kept there as `benchmarks/results/<name>.svg`. With `BENCH_KEEP=no` in the
environment it only prints: for rounds too short to be worth a comparison.
`python -m benchmarks.report` draws all pictures anew and measures nothing.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.plot import Bar, Panel, draw

RESULTS: Final = Path(__file__).parent / "results"
PACKAGES: Final = ("headrace", "uvicorn", "starlette", "msgspec", "chdb", "clickhouse-connect")
DRAWN: Final = 30
"""The latest runs are in the picture, older ones only in the file."""


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

    @property
    def name(self) -> str:
        """What was measured, without the answers that some benchmarks count behind it."""
        return self.what.partition(" {")[0]

    @property
    def target(self) -> float | None:
        """The goal as a figure in `unit`; percent are those of the ceiling."""
        figure = re.search(r"\d[\d,.]*", self.goal)
        if figure is None:
            return None
        number = float(figure[0].replace(",", ""))
        if "%" in self.goal:
            return number / 100 * self.ceiling if self.ceiling else None
        return number

    @property
    def is_missed(self) -> bool:
        """Whether there is a goal, and the result is on the wrong side of it."""
        if (target := self.target) is None:
            return False
        return self.result > target if self.goal.startswith("<") else self.result < target


class Run(msgspec.Struct):
    """What one run found, and on what."""

    machine: dict[str, str]
    lines: list[Line]


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
    """Print the table; keep the JSON and draw the picture, unless told not to."""
    run = Run(machine(), lines)
    _print(name, run)
    if os.environ.get("BENCH_KEEP") == "no":
        print("not kept")
        return
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("ab") as file:
        file.write(msgspec.json.encode(run) + b"\n")
    draw_kept(name)


def _print(name: str, run: Run) -> None:
    on = run.machine
    print(f"\n{name}: {on['cpu']}, Python {on['python']}, headrace {on['headrace']}")
    print(f"{'what':58} {'result':>12} {'unit':14} {'ceiling':>12} {'ratio':>6}  goal")
    for line in run.lines:
        ceiling = f"{line.ceiling:,.1f}" if line.ceiling else ""
        print(
            f"{line.what:58} {line.result:>12,.1f} {line.unit:14} {ceiling:>12} {line.ratio:>6}"
            f"  {line.goal}"
        )


def kept(name: str) -> list[Run]:
    """The runs kept of a benchmark, oldest first; at least one, or the program ends saying so."""
    path = RESULTS / f"{name}.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    if not lines:
        raise SystemExit(f"no run is kept in {path.name}: run `python -m benchmarks.{name}`")
    return [msgspec.json.decode(line, type=Run) for line in lines]


def draw_kept(name: str) -> None:
    """Draw the kept runs of a benchmark."""
    runs = kept(name)[-DRAWN:]
    latest = runs[-1]
    about = f"latest: {latest.machine['cpu']}; pale bars: another kind of processor"
    panels = [_panel(line.name, runs) for line in latest.lines]
    (RESULTS / f"{name}.svg").write_text(draw(name, about, panels), encoding="utf-8")


def _panel(what: str, runs: list[Run]) -> Panel:
    """One line over the runs that have it, the latest among them."""
    cpu = runs[-1].machine["cpu"]
    found = [(run.machine["cpu"], line) for run in runs for line in run.lines if line.name == what]
    bars = [
        Bar(line.result, line.ceiling, line.target, f"{_said(line)}; {on}", on != cpu)
        for on, line in found
    ]
    latest = found[-1][1]
    aside = [f"ceiling {_figure(latest.ceiling)} ({latest.ratio})"] if latest.ceiling else []
    if latest.goal:
        aside.append(f"goal {latest.goal}{', missed' if latest.is_missed else ''}")
    return Panel(what, _said(latest), "; ".join(aside), bars, latest.is_missed)


def _said(line: Line) -> str:
    return f"{_figure(line.result)} {line.unit}"


def _figure(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


if __name__ == "__main__":
    for each in sorted(RESULTS.glob("*.jsonl")):
        draw_kept(each.stem)
