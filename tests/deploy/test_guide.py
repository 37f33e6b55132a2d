"""`docs/deploying.md` against what is there: files, commands, settings, alerts."""

from __future__ import annotations

import re
from typing import Final

import yaml

from headrace.runtime.main import COMMANDS
from headrace.runtime.node import GRACE_SECONDS
from headrace.runtime.setting_table import SETTINGS
from tests.deploy.tools import DEPLOY, ROOT

TEXT: Final = (ROOT / "docs" / "deploying.md").read_text()
RULES: Final = (DEPLOY / "prometheus" / "headrace.rules.yml").read_text()


def test_files_that_the_guide_names_exist() -> None:
    """But for the one that it says to make from its example."""
    named = {path.rstrip(".") for path in re.findall(r"(?<![\w/])deploy/[\w./-]+", TEXT)}
    assert named
    assert {path for path in named if not (ROOT / path).exists()} <= {
        "deploy/.env",
        "deploy/headrace-collector",  # kubectl's word for the deployment
    }


def test_commands_that_the_guide_names_exist() -> None:
    """Whoever follows it line by line can."""
    named = set(re.findall(r"(?:`|^|&& |-- |collector )headrace ([a-z]+)", TEXT, re.MULTILINE))
    assert {"migrate", "check", "collector", "processor"} <= named
    assert named <= {command[0] for command in COMMANDS}


def test_the_four_settings_and_kafkas_are_in_the_guide() -> None:
    """Every setting of the four services has its place there, but those for tuning alone."""
    prefixes = ("HEADRACE_KAFKA", "HEADRACE_CLICKHOUSE", "HEADRACE_REDIS", "HEADRACE_DATABASE")
    wanted = {each.variable for each in SETTINGS.values() if each.variable.startswith(prefixes)}
    tuning = {"HEADRACE_KAFKA_COMPRESSION", "HEADRACE_KAFKA_GROUP"}
    assert {name for name in wanted - tuning if name not in TEXT} == set()


def test_defaults_in_the_guide_are_those_of_the_settings() -> None:
    """Partitions and retention, in the table of what to choose."""
    for field in ("kafka_partitions", "kafka_retention_hours"):
        setting = SETTINGS[field]
        assert re.search(rf"`{setting.variable}` \| {setting.default} \|", TEXT)


def test_times_to_end_are_those_of_the_node() -> None:
    """What the guide promises of SIGTERM is what `headrace up` grants."""
    assert f"at most {GRACE_SECONDS['collector']:.0f} s" in TEXT
    assert f"at most {GRACE_SECONDS['processor']:.0f} s" in TEXT


def test_what_alerts_refer_to_is_in_the_guide() -> None:
    """A description that names a passage names one that is there."""
    for passage in re.findall(r'\(docs/deploying\.md, "([^"]+)"\)', RULES):
        assert passage in TEXT


def test_alerts_that_refer_to_alerts_name_ones_that_exist() -> None:
    """As in "see HeadraceLagGrows"."""
    groups = yaml.safe_load(RULES)["groups"]
    names = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert set(re.findall(r"\bHeadrace[A-Z]\w+", RULES)) <= names
