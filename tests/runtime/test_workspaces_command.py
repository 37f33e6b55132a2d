"""`headrace workspaces`: tenants made and limited from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.runtime.commands import workspaces
from headrace.schemas.errors import HeadraceError
from tests.runtime.homes import make_home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path / "home")


def listed(capsys: pytest.CaptureFixture[str], home: Path) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    workspaces.list_(json=True, home=home)
    return {each["name"]: each for each in json.loads(capsys.readouterr().out)}


def test_a_workspace_is_made_and_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its id alone goes to standard output; the limit is its own."""
    workspaces.create("acme", requests_per_minute=600, home=home)
    printed = capsys.readouterr()
    assert printed.out.startswith("ws_")
    assert printed.out.count("\n") == 1
    made = listed(capsys, home)["acme"]
    assert made["id"] == printed.out.strip()
    assert (made["requests_per_minute"], made["rate_limit_dry_run"]) == (600, False)


def test_the_table_says_what_limit_holds(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The node's default where a workspace has none of its own."""
    workspaces.create("acme", requests_per_minute=1_600, dry_run_limit=True, home=home)
    workspaces.list_(home=home)
    printed = capsys.readouterr().out
    assert "100 (default)" in printed
    assert "1,600" in printed
    assert "only counted" in printed


def test_a_limit_is_changed_and_given_back(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`default` means the node's."""
    workspaces.limit("default", "5000", dry_run_limit=True, home=home)
    assert listed(capsys, home)["default"]["requests_per_minute"] == 5_000
    assert listed(capsys, home)["default"]["rate_limit_dry_run"] is True
    workspaces.limit("default", "default", home=home)
    assert listed(capsys, home)["default"]["requests_per_minute"] is None


@pytest.mark.parametrize("limit", ["many", "0", "-3", "1.5"])
def test_a_limit_that_is_none_is_refused(home: Path, limit: str) -> None:
    """The sentence says what to give."""
    with pytest.raises(HeadraceError, match="give a number"):
        workspaces.limit("default", limit, home=home)


def test_a_name_is_taken_once(home: Path) -> None:
    """Two workspaces of one name could not be told apart on the command line."""
    with pytest.raises(HeadraceError, match="'default' already"):
        workspaces.create("default", home=home)


def test_a_workspace_that_is_not_there_is_answered_with_those_that_are(home: Path) -> None:
    """A typing mistake is seen at once."""
    with pytest.raises(HeadraceError, match=r"'defualt' \(there is: default\)"):
        workspaces.limit("defualt", "1", home=home)


def test_before_the_first_start_there_is_nothing_to_change(tmp_path: Path) -> None:
    """The sentence says what to do, and nothing is made."""
    with pytest.raises(HeadraceError, match="Run `headrace up` first"):
        workspaces.create("acme", home=tmp_path / "home")
    assert not (tmp_path / "home").exists()
