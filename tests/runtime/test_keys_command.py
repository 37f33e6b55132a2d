"""`headrace keys`: made, listed, revoked; the key itself is seen once."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime.commands import keys
from headrace.schemas.errors import HeadraceError
from headrace.workspaces.database import ControlData
from headrace.workspaces.keys import well_formed
from headrace.workspaces.port import Scope
from tests.runtime.homes import make_home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path / "home")


def created(capsys: pytest.CaptureFixture[str], home: Path, **options: Any) -> str:
    capsys.readouterr()
    keys.create(**({"workspace": "default"} | options), home=home)
    return capsys.readouterr().out.removesuffix("\n")


def listed(capsys: pytest.CaptureFixture[str], home: Path) -> list[dict[str, Any]]:
    capsys.readouterr()
    keys.list_(json=True, home=home)
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_the_key_alone_is_on_standard_output(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a script can take it; what a person wants to know is on standard error."""
    keys.create(workspace="default", name="backend", home=home)
    printed = capsys.readouterr()
    assert well_formed(printed.out.removesuffix("\n"))
    assert "not shown again" in printed.err
    assert printed.out.strip() not in printed.err


def test_a_key_may_ingest_unless_something_else_is_said(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The narrowest scope is the default."""
    created(capsys, home, name="a")
    created(capsys, home, name="b", scope=[Scope.QUERY, Scope.ADMIN])
    scopes = {key["name"]: key["scopes"] for key in listed(capsys, home)}
    assert (scopes["a"], scopes["b"]) == (["ingest"], ["admin", "query"])


def test_a_key_may_end_by_itself(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`30d` counts from now."""
    created(capsys, home, name="soon", expires="30d")
    [found] = [key for key in listed(capsys, home) if key["name"] == "soon"]
    left = datetime.fromisoformat(found["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)


@pytest.mark.parametrize("expires", ["yesterday", "2001-01-01", "0d"])
def test_an_expiry_that_is_none_is_refused(home: Path, expires: str) -> None:
    """Before a key is made that nobody can use."""
    with pytest.raises(HeadraceError, match="expiry"):
        keys.create(workspace="default", expires=expires, home=home)


@pytest.mark.parametrize("by", ["key", "id", "hint"])
def test_a_key_is_revoked_by_what_is_known_of_it(
    home: Path, capsys: pytest.CaptureFixture[str], by: str
) -> None:
    """The key itself, its id, or how the list shows it."""
    key = created(capsys, home, name="mine")
    [found] = [each for each in listed(capsys, home) if each["name"] == "mine"]
    keys.revoke({"key": key, "id": found["id"], "hint": found["key"]}[by], home=home)
    states = {each["name"]: each["state"] for each in listed(capsys, home)}
    assert states == {"mine": "revoked", "credentials.json": "active"}


def test_a_key_that_is_not_there_is_not_repeated_in_full(home: Path) -> None:
    """It might be a real one, and error messages end up in logs."""
    key = "hrk_" + "A" * 38
    with pytest.raises(HeadraceError, match="there is no key"):
        keys.revoke(key, home=home)


def test_the_list_never_holds_a_key(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither as a table nor as JSON; nor its hash."""
    key = created(capsys, home, name="mine")
    keys.list_(home=home)
    keys.list_(json=True, home=home)
    printed = capsys.readouterr().out
    assert key not in printed
    assert "sha256" not in printed
    assert "mine" in printed


def test_keys_of_one_workspace(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others' stay out of sight."""
    control = ControlData.open(f"sqlite:///{home / 'control.sqlite'}")
    control.create_workspace("acme")
    control.close()
    created(capsys, home, workspace="acme", name="theirs")
    keys.list_(workspace="acme", json=True, home=home)
    assert [key["name"] for key in json.loads(capsys.readouterr().out)] == ["theirs"]


def test_a_mistake_ends_with_a_sentence_and_1(home: Path) -> None:
    """Nothing on standard output, so that a script does not take it for a key."""
    words = ["keys", "create", "--workspace", "acme", "--home", str(home)]
    command = [str(Path(sys.executable).with_name("headrace")), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no workspace 'acme' (there is: default)" in done.stderr
