"""`headrace analysts`: credentials once, views at once or when the node starts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from headrace.runtime.analyst_databases import ensure_analyst_databases
from headrace.runtime.commands import analysts
from headrace.runtime.home import Home
from headrace.runtime.reach import processor_login, settings_for
from headrace.schemas.errors import HeadraceError
from headrace.store.migrate import migrate
from headrace.workspaces.database import ControlData
from headrace.workspaces.keys import fingerprint
from headrace.workspaces.port import Role
from tests.runtime.homes import make_home, point_home_at
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("store") / "data") as server:
        migrate(server.url, PROCESSOR, PASSWORD)
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A HOME whose store does not run, with a workspace `acme`."""
    home = make_home(tmp_path / "home")
    control = ControlData.open(Home(home).control_url)
    control.create_workspace("acme")
    control.close()
    return home


def created(capsys: pytest.CaptureFixture[str], home: Path, **options: Any) -> dict[str, str]:
    capsys.readouterr()
    analysts.create(workspace="acme", home=home, **options)
    login: dict[str, str] = json.loads(capsys.readouterr().out)
    return login


def views(server: StoreServer, database: str) -> set[str]:
    client = server.client(PROCESSOR, database="default")
    found = client.query(f"SHOW TABLES FROM {database}").result_rows
    client.close()
    return {row[0] for row in found}


def test_credentials_are_printed_once_and_kept_hashed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON with everything a client needs."""
    login = created(capsys, home)
    assert set(login) == {"url", "database", "user", "password"}
    control = ControlData.open(Home(home).control_url)
    [user] = [each for each in control.list_store_users() if each.name == login["user"]]
    control.close()
    assert user.role is Role.ANALYST
    assert user.password_sha256 == fingerprint(login["password"])
    assert user.database == login["database"]


def test_views_are_there_at_once_where_the_store_runs(
    home: Path, server: StoreServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The analyst need not wait for anything."""
    login = created(capsys, point_home_at(home, server))
    assert views(server, login["database"]) >= {"events", "rejected_events", "identity_links"}


def test_without_a_store_the_views_are_made_when_the_node_starts(
    home: Path, server: StoreServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said so; what the start then does may be done any number of times."""
    analysts.create(workspace="acme", home=home)
    printed = capsys.readouterr()
    database = json.loads(printed.out)["database"]
    assert "when the node starts" in printed.err
    control = ControlData.open(Home(home).control_url)
    users = control.list_store_users()
    control.close()
    login = processor_login(settings_for(point_home_at(home, server)))
    assert ensure_analyst_databases(login, users) == ensure_analyst_databases(login, users)
    assert "events" in views(server, database)


def test_the_list_shows_who_reads_what(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every analyst, no password, no other user of the store."""
    login = created(capsys, home, name="ann")
    analysts.list_(json=True, home=home)
    found = json.loads(capsys.readouterr().out)
    assert ("ann", "acme") in [(each["user"], each["workspace"]) for each in found]
    assert not {"operator", "processor"} & {each["user"] for each in found}
    analysts.list_(home=home)
    printed = capsys.readouterr().out
    assert "ann" in printed
    assert login["password"] not in printed


def test_a_workspace_may_have_several(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with a name and a password of its own, over the same views."""
    first, second = created(capsys, home), created(capsys, home)
    assert first["user"] != second["user"]
    assert first["password"] != second["password"]
    assert first["database"] == second["database"]


def test_a_name_is_taken_once(home: Path) -> None:
    """Another name is asked for."""
    analysts.create(workspace="acme", name="ann", home=home)
    with pytest.raises(HeadraceError, match="'ann'"):
        analysts.create(workspace="acme", name="ann", home=home)


def test_a_dropped_analyst_is_gone_and_the_others_stay(
    home: Path, server: StoreServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The workspace's database goes with the last of them."""
    first = created(capsys, point_home_at(home, server))
    second = created(capsys, home)
    database = first["database"]
    analysts.drop(first["user"], home=home)
    assert "events" in views(server, database)
    analysts.list_(json=True, home=home)
    left = {each["user"] for each in json.loads(capsys.readouterr().out)}
    assert second["user"] in left
    assert first["user"] not in left
    analysts.drop(second["user"], home=home)
    with pytest.raises(DatabaseError, match=database):
        views(server, database)


@pytest.mark.parametrize("name", ["nobody", "operator"])
def test_only_an_analyst_can_be_dropped(home: Path, name: str) -> None:
    """The answer names those there are."""
    analysts.create(workspace="acme", name="ann", home=home)
    with pytest.raises(HeadraceError, match=rf"no analyst '{name}' \(there is: .*ann"):
        analysts.drop(name, home=home)


def test_a_server_whose_login_may_not_make_users_keeps_none_in_control_data(
    home: Path, server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine here lets nobody make users: the sentence says which grants are needed."""
    address = server.url.removeprefix("http://")
    monkeypatch.setenv("HEADRACE_CLICKHOUSE", f"http://{PROCESSOR}:{PASSWORD}@{address}/headrace")
    with pytest.raises(HeadraceError, match=r"processor of HEADRACE_CLICKHOUSE may not make"):
        analysts.create(workspace="acme", name="ben", home=home)
    control = ControlData.open(Home(home).control_url)
    assert "ben" not in {user.name for user in control.list_store_users()}
    control.close()


def test_a_workspace_that_is_not_there_is_answered_with_those_that_are(home: Path) -> None:
    """Nobody is made."""
    with pytest.raises(HeadraceError, match=r"'acem' \(there is: default, acme\)"):
        analysts.create(workspace="acem", home=home)
