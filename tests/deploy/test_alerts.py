"""Prometheus' configuration and rules: well-formed, tried out, and about figures that exist."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
import yaml

from tests.deploy.queries import existing_series, faults
from tests.deploy.tools import DEPLOY, demand_success, promtool, run

FOLDER: Final = DEPLOY / "prometheus"
RULES: Final[list[dict[str, Any]]] = [
    rule
    for group in yaml.safe_load((FOLDER / "headrace.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS: Final = [rule for rule in RULES if "alert" in rule]


def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    """As `promtool` reads them, which is how Prometheus does."""
    demand_success(run([promtool(), "check", "config", "prometheus.yml"], cwd=FOLDER))


def test_alerts_fire_when_they_should_and_only_then() -> None:
    """`headrace.rules.test.yml` makes figures up and names exactly what fires."""
    demand_success(run([promtool(), "test", "rules", "headrace.rules.test.yml"], cwd=FOLDER))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_was_tried_out(alert: dict[str, Any]) -> None:
    """An alert that has never fired may never fire."""
    tried = (FOLDER / "headrace.rules.test.yml").read_text()
    assert f'alertname="{alert["alert"]}"' in tried


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_ask_for_figures_that_exist(rule: dict[str, Any]) -> None:
    """Names and labels are those that the processes show, or that another rule records."""
    recorded = {each["record"]: frozenset[str]() for each in RULES if "record" in each}
    assert faults(rule["expr"], existing_series() | recorded) == []


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_says_what_it_means_and_what_to_do(alert: dict[str, Any]) -> None:
    """A summary, a description, and one of two severities; the page about deploying names it."""
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"]


def test_commands_and_settings_named_in_alerts_exist() -> None:
    """What somebody is told to type at night works."""
    from headrace.runtime.main import COMMANDS
    from headrace.runtime.setting_table import SETTINGS

    text = (FOLDER / "headrace.rules.yml").read_text()
    settings = {setting.variable for setting in SETTINGS.values()}
    commands = {command[0] for command in COMMANDS}
    assert set(re.findall(r"HEADRACE_[A-Z_]+[A-Z]", text)) <= settings
    assert set(re.findall(r"`headrace (\w+)", text)) <= commands
