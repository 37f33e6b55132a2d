"""What stands around the benchmarks: kept results, pictures, the computed page, the clients."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from xml.etree import ElementTree

import msgspec
import pytest

from benchmarks import capacity, report
from benchmarks.capacity import Assumptions, Figures
from benchmarks.plot import Bar, Panel, draw
from benchmarks.report import Line, Run
from headrace.collector.decode import read_batch
from tests.services.missing import leave_out

CLIENTS = Path(report.__file__).parent / "clients"
FIGURES = Figures(
    collector_us=6.0,
    single_us=120.0,
    processor_us=9.0,
    store_us=12.0,
    insert_rate=100_000.0,
    node_rate=80_000.0,
    append_rate=150_000.0,
)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    return tmp_path


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_run_is_kept_and_drawn(results: Path) -> None:
    """Two runs are two JSON lines, and two bars in the picture."""
    for rate in (100.0, 200.0):
        report.report("one", [Line("events", rate, "events/s", 400.0, ">= 50 %")])
    assert [run.lines[0].result for run in report.kept("one")] == [100.0, 200.0]
    svg = (results / "one.svg").read_text()
    assert svg.count('<rect class="result" x="') == 3  # the legend has one
    assert {"200 events/s", "ceiling 400 (50%); goal >= 50 %"} <= set(texts(svg))


def test_a_quick_run_is_printed_and_not_kept(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """BENCH_KEEP=no leaves the results as they were."""
    monkeypatch.setenv("BENCH_KEEP", "no")
    report.report("one", [Line("events", 100.0, "events/s")])
    assert "events/s" in capsys.readouterr().out
    assert list(results.iterdir()) == []


@pytest.mark.parametrize(
    ("goal", "result", "ceiling", "target", "is_missed"),
    [
        ("", 5.0, None, None, False),
        ("<= 4", 5.0, None, 4.0, True),
        ("< 2,000", 1999.0, None, 2000.0, False),
        (">= 150,000", 140_000.0, None, 150_000.0, True),
        (">= 50 %", 60.0, 100.0, 50.0, False),
        (">= 50 %", 60.0, None, None, False),
    ],
)
def test_a_goal_is_a_figure_of_the_lines_unit(
    goal: str, result: float, ceiling: float | None, target: float | None, is_missed: bool
) -> None:
    """Percent are those of the ceiling; without one there is nothing to miss."""
    line = Line("what", result, "us", ceiling, goal)
    assert (line.target, line.is_missed) == (target, is_missed)


def test_runs_of_another_processor_are_pale(results: Path) -> None:
    """They are shown, and are not to be compared with the latest."""
    runs = [Run({"cpu": cpu}, [Line("p50", 1.0, "ms")]) for cpu in ("old", "new")]
    (results / "one.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, runs)))
    report.draw_kept("one")
    svg = (results / "one.svg").read_text()
    assert svg.count('class="result pale"') == 1
    assert "1 ms; old" in svg


def test_what_a_benchmark_says_is_text_in_its_picture() -> None:
    """Names may hold anything; zero is a figure; light and dark are both there."""
    svg = draw("a <b> & c", "on it", [Panel("p99 < 1 & 'x'", "0 ms", "", [Bar(0.0, note="<&>")])])
    assert {"a <b> & c", "p99 < 1 & 'x'", "0 ms"} <= set(texts(svg))
    assert "prefers-color-scheme: dark" in svg


def test_what_a_rate_needs_is_computed_from_figures_and_assumptions() -> None:
    """CPU over the share of a core, copies and time over the disks, and the sum of the prices."""
    needs = {each.what: each for each in capacity.needs(FIGURES, Assumptions())}
    assert needs["collectors, batches of 1,000"].amount == "10 of a core each"
    assert needs["processors"].amount == "15 of a core each"
    assert needs["partitions"].amount == "60"
    assert needs["ClickHouse, without anybody's queries"].amount == "60 cores, 20 for each copy"
    assert needs["Kafka's disks"].amount == "218 TB"
    assert needs["collectors, batches of 1,000"].usd == pytest.approx(10 * 730 * 0.05)


def test_one_copy_in_one_zone_needs_no_division_and_no_traffic() -> None:
    """What replicas and zones cost goes with them."""
    alone = Assumptions(clickhouse_copies=1, kafka_copies=1, zones=1)
    needs = {each.what: each for each in capacity.needs(FIGURES, alone)}
    assert "installations side by side" not in needs
    assert needs["network between zones"].usd == 0


def test_the_page_takes_the_tables_of_the_kept_results() -> None:
    """Every line that is looked for is in the results that are kept, and the page has a place."""
    page = capacity.PAGE.read_text()
    tables = capacity.markdown(capacity.measured(), Assumptions())
    renewed = capacity.renewed(page, tables)
    assert tables in renewed
    assert capacity.renewed(renewed, tables) == renewed
    assert renewed.splitlines()[0] == page.splitlines()[0]
    assert renewed.splitlines()[-1] == page.splitlines()[-1]


def test_a_line_that_is_not_kept_is_named(results: Path) -> None:
    """Whoever computes with too few results learns which benchmark to run."""
    with pytest.raises(SystemExit, match=r"benchmarks\.kafka"):
        capacity.measured()
    run = Run({"cpu": "one"}, [Line("p50", 1.0, "ms")])
    (results / "kafka.jsonl").write_bytes(msgspec.json.encode(run))
    with pytest.raises(SystemExit, match="CPU per event"):
        capacity.measured()


def test_the_k6_script_is_javascript(tmp_path: Path) -> None:
    """k6 is not here; Node.js reads the same language."""
    if shutil.which("node") is None:
        leave_out("Node.js", "apt-get install nodejs")
    module = tmp_path / "k6.mjs"
    module.write_bytes((CLIENTS / "k6.js").read_bytes())
    done = subprocess.run(["node", "--check", module], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_locust_file_makes_events_that_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locust is not here: its names stand for nothing, and the rest of the file is run."""
    locust = ModuleType("locust")
    vars(locust).update(
        FastHttpUser=object,
        constant_throughput=float,
        task=lambda function: function,
        events=SimpleNamespace(quitting=SimpleNamespace(add_listener=lambda function: function)),
    )
    monkeypatch.setitem(sys.modules, "locust", locust)
    make_event = runpy.run_path(str(CLIENTS / "locustfile.py"))["make_event"]
    decoded = read_batch(msgspec.json.encode({"events": [make_event() for _ in range(100)]}))
    assert (len(decoded.events), decoded.rejections) == (100, ())
