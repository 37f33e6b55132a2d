"""Grafana's dashboards: they load, ask for figures that exist, and lie beside one another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.deploy.queries import existing_series, faults
from tests.deploy.tools import DEPLOY, demand_success, promtool, run

FOLDER: Final = DEPLOY / "grafana"
DASHBOARDS: Final = sorted((FOLDER / "dashboards").glob("*.json"))


def panels(path: Path) -> list[dict[str, Any]]:
    """A dashboard's panels, rows included."""
    return list(json.loads(path.read_text())["panels"])


def queries(path: Path) -> Iterator[tuple[str, str]]:
    """Title and query of everything that a dashboard asks."""
    for panel in panels(path):
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_panels_ask_for_figures_that_exist(path: Path) -> None:
    """A renamed metric leaves no empty panel behind."""
    series = existing_series()
    found = {title: faults(query, series) for title, query in queries(path)}
    assert {title: problems for title, problems in found.items() if problems} == {}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_queries_are_well_formed(path: Path, tmp_path: Path) -> None:
    """As Prometheus' own parser says, with Grafana's interval filled in."""
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, (_, query) in enumerate(queries(path))
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    demand_success(run([promtool(), "check", "rules", str(file)]))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_panels_have_a_title_and_a_place_of_their_own(path: Path) -> None:
    """Ids are unique, and no panel covers another."""
    found = panels(path)
    assert len({panel["id"] for panel in found}) == len(found)
    assert all(panel["title"] for panel in found)
    for one, other in combinations((panel["gridPos"] for panel in found), 2):
        assert _are_apart(one, other), (one, other)


def test_dashboards_are_told_apart_and_work_with_any_prometheus() -> None:
    """An id of its own each, and the data source is a variable: importable elsewhere."""
    boards = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert len({board["uid"] for board in boards}) == len(boards)
    for path, board in zip(DASHBOARDS, boards, strict=True):
        assert [each["name"] for each in board["templating"]["list"]] == ["datasource"]
        sources = {panel["datasource"]["uid"] for panel in panels(path) if panel["type"] != "row"}
        assert sources == {"${datasource}"}


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    """The folders that are provisioned are those that compose.yaml mounts."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    source = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yaml").read_text())
    provider = yaml.safe_load((FOLDER / "provisioning/dashboards/headrace.yaml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    assert "prometheus" in compose
    mounted = dict(volume.split(":")[:2] for volume in compose["grafana"]["volumes"])
    folder = provider["providers"][0]["options"]["path"]
    assert mounted["./grafana/dashboards"] == folder
    home = compose["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (FOLDER / "dashboards" / Path(home).name).exists()
    assert home.startswith(folder)


def _are_apart(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] + one["w"] <= other["x"]
        or other["x"] + other["w"] <= one["x"]
        or one["y"] + one["h"] <= other["y"]
        or other["y"] + other["h"] <= one["y"]
    )
