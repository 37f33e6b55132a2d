"""`headrace identities`: links shown, taken away and given back, over a real store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime.clock import SystemClock
from headrace.runtime.commands import identities
from headrace.runtime.home import Home
from headrace.runtime.preparing import Preparation
from headrace.runtime.reach import settings_for
from headrace.schemas.errors import HeadraceError
from headrace.store.migrate import migrate
from headrace.workspaces.database import ControlData
from tests.runtime.homes import copied, make_home, point_home_at
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEVICE = "device'\\1\t\n"
"""Ids are whatever clients send."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("store") / "data") as server:
        migrate(server.url, PROCESSOR, PASSWORD)
        yield server


@pytest.fixture
def home(tmp_path: Path, server: StoreServer) -> Path:
    """A HOME in whose workspace `default` an event linked DEVICE to ann."""
    home = point_home_at(make_home(tmp_path / "home"), server)
    control = ControlData.open(Home(home).control_url)
    workspace = control.find_workspace("default").id
    control.close()
    client = server.client(PROCESSOR)
    columns = ["workspace_id", "anonymous_id", "user_id", "received_at", "source_event_id"]
    client.insert("identity_links_rows", [[workspace, DEVICE, "ann", NOW, "evt_1"]], columns)
    client.command("SYSTEM RELOAD DICTIONARY identity_links_recent")
    client.close()
    return home


def shown(capsys: pytest.CaptureFixture[str], home: Path, identifier: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    identities.show(identifier, workspace="default", json=True, home=home)
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("identifier", [DEVICE, "ann"])
def test_links_are_shown_from_either_side(
    home: Path, capsys: pytest.CaptureFixture[str], identifier: str
) -> None:
    """With the event that made them."""
    [link] = shown(capsys, home, identifier)
    assert (link["anonymous_id"], link["user_id"]) == (DEVICE, "ann")
    assert link["source_event_id"] == "evt_1"


def test_a_link_is_taken_away_and_given_back(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In force when the command returns."""
    pair = {"workspace": "default", "anonymous_id": DEVICE, "user_id": "ann", "home": home}
    identities.unlink(**pair)  # type: ignore[arg-type] # the keywords are those of the command
    assert shown(capsys, home, DEVICE) == []
    identities.link(**pair)  # type: ignore[arg-type] # as above
    assert [link["user_id"] for link in shown(capsys, home, DEVICE)] == ["ann"]


def test_an_id_without_links_is_said_to_have_none(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rather than an empty table."""
    identities.show("nobody", workspace="default", home=home)
    assert "'nobody' has no links." in capsys.readouterr().err


def test_a_copy_of_a_home_leaves_the_first_one_alone(home: Path, tmp_path: Path) -> None:
    """Its passwords are right there, too; what a command changes would be the other's."""
    other = copied(home, tmp_path / "copy")
    with pytest.raises(HeadraceError, match=r"copy does not run.*headrace up"):
        identities.unlink(workspace="default", anonymous_id="d", user_id="u", home=other)
    prepared = Preparation(settings_for(other), Home(other), SystemClock()).tables()
    assert prepared.startswith("the embedded store does not run")


def test_a_store_that_does_not_run_is_told(tmp_path: Path) -> None:
    """Links live in the store, so the node must run."""
    home = make_home(tmp_path / "home")
    with pytest.raises(HeadraceError, match="does not run"):
        identities.unlink(workspace="default", anonymous_id="d", user_id="u", home=home)
