"""The documents against the code: what they promise exists, what exists is in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from headrace.runtime import metrics
from headrace.runtime.commands.settings import markdown_table
from headrace.runtime.main import COMMANDS
from headrace.runtime.setting_table import SETTINGS
from headrace.schemas.outcomes import Code

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_the_readme_holds_the_table_of_settings_made_from_the_code() -> None:
    """`headrace settings --markdown` prints what belongs there."""
    assert "\n".join(markdown_table()) in README


@pytest.mark.parametrize("name", [command[0] for command in COMMANDS])
def test_every_command_is_in_the_readme(name: str) -> None:
    """Somebody who reads the README has seen every command."""
    assert f"headrace {name}" in README


@pytest.mark.parametrize("code", list(Code))
def test_every_reason_is_in_the_api_document(code: Code) -> None:
    """Whoever reads a code in an answer or a table finds what it means."""
    assert f"`{code}`" in (ROOT / "docs" / "api.md").read_text()


def test_every_endpoint_and_error_is_in_the_api_document() -> None:
    """The collector and the page about it name the same paths and error codes."""
    from headrace.collector.answers import PROBLEMS
    from headrace.collector.openapi import describe

    text = (ROOT / "docs" / "api.md").read_text()
    assert [path for path in describe()["paths"] if path not in text] == []
    rows = {f"| {each.status} | `{each.error}` |" for each in PROBLEMS}
    assert [row for row in sorted(rows) if row not in text] == []


def test_every_metric_is_in_its_document() -> None:
    """A dashboard is built from one page."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    named = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    missing = [metric._name for metric in named if f"`{metric._name}" not in text]
    assert missing == []


def test_no_setting_is_documented_that_does_not_exist() -> None:
    """A removed setting leaves the documents as well."""
    known = {setting.variable for setting in SETTINGS.values()}
    for document in DOCUMENTS:
        named = set(re.findall(r"HEADRACE_[A-Z_]+[A-Z]", document.read_text()))
        assert named <= known, document.name


def test_the_architecture_is_a_short_read() -> None:
    """Under 200 lines, or nobody reads it."""
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) < 200


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_and_links_in_documents_exist(document: Path) -> None:
    """What a document points at is there."""
    text = document.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target
    for path in re.findall(r"`((?:headrace|tests|benchmarks|docs)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def test_the_readme_says_first_what_to_type() -> None:
    """Within its first screen: `make run` and `make test`."""
    first_screen = "\n".join(README.splitlines()[:30])
    assert "make run" in first_screen
    assert "make test" in first_screen
