"""Analysts on a ClickHouse server: who is made, who is left alone. The server is played."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest

from headrace.runtime import analyst_databases
from headrace.runtime.analyst_databases import (
    CannotManageUsers,
    NameTaken,
    ensure_analyst_users,
    forget_analyst,
)
from headrace.runtime.credentials import StoreLogin
from headrace.schemas.errors import Unavailable
from headrace.store.connection import Connection
from headrace.workspaces.port import Role, StoreUser

LOGIN = StoreLogin("http://127.0.0.1:1", "headrace", "admin", "")
ROLE = "headrace_ws_one_analyst"


class Server(Connection):
    """Knows some users and their roles, and remembers what it was told."""

    def __init__(self, **users: list[str]) -> None:
        super().__init__("http://127.0.0.1:1", "", "")
        self.users = users
        self.told: list[str] = []
        self.refusal = ""

    def rows(self, sql: str, **_: Any) -> Sequence[Sequence[Any]]:
        if "system.settings" in sql:
            return [("allow_ddl",), ("ignore_on_cluster_for_replicated_access_entities_queries",)]
        return [(name, roles) for name, roles in self.users.items() if f"'{name}'" in sql]

    def run(self, sql: str, **_: Any) -> None:
        if self.refusal:
            raise Unavailable(self.refusal)
        self.told.append(sql)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(analyst_databases, "_connect", lambda _login: made)
    return made


def analyst(name: str, workspace_id: str = "ws_one") -> StoreUser:
    digest = hashlib.sha256(name.encode()).digest()
    return StoreUser(name, Role.ANALYST, digest, workspace_id, workspace_id)


def logins(server: Server) -> list[str]:
    """Whose password the server was told."""
    return [each.split("`")[1] for each in server.told if each.startswith("ALTER USER")]


def test_every_analyst_is_made_and_nobody_else(server: Server) -> None:
    """The operator and the processor are the login that was set."""
    operator = StoreUser("operator", Role.OPERATOR, b"", "headrace", None)
    users = [operator, analyst("ann"), analyst("ben", "ws_two")]
    assert ensure_analyst_users(LOGIN, users, "") == ["ann", "ben"]
    assert logins(server) == ["ann", "ben"]


def test_those_who_are_there_are_brought_up_to_date(server: Server) -> None:
    """A new password and new views; unless only new ones are asked for."""
    server.users = {"ann": [ROLE]}
    users = [analyst("ann"), analyst("ben")]
    assert ensure_analyst_users(LOGIN, users, "", only_new=True) == ["ben"]
    assert ensure_analyst_users(LOGIN, users, "") == ["ann", "ben"]


@pytest.mark.parametrize("roles", [[""], ["headrace_ws_two_analyst", "admins"]])
def test_somebody_elses_password_is_never_replaced(server: Server, roles: list[str]) -> None:
    """An analyst named like the administrator would lock them out."""
    server.users = {"default": roles}
    with pytest.raises(NameTaken, match=r"'default' already.*--name"):
        ensure_analyst_users(LOGIN, [analyst("ann"), analyst("default")], "")
    assert server.told == []


def test_without_the_right_the_grants_are_named(server: Server) -> None:
    """Instead of trying for ever."""
    server.refusal = "Received ClickHouse exception, code: 497, … (ACCESS_DENIED)"
    with pytest.raises(CannotManageUsers, match=r"admin of HEADRACE_CLICKHOUSE.*SET DEFINER"):
        ensure_analyst_users(LOGIN, [analyst("ann")], "")


def test_a_server_that_is_away_is_unavailable(server: Server) -> None:
    """That passes by itself."""
    server.refusal = "the store cannot be reached"
    with pytest.raises(Unavailable):
        ensure_analyst_users(LOGIN, [analyst("ann")], "")


def test_a_workspaces_last_analyst_takes_its_views_along(server: Server) -> None:
    """Others keep theirs."""
    server.users = {"ann": [ROLE], "ben": [ROLE]}
    forget_analyst(LOGIN, analyst("ann"), [analyst("ben")], "events")
    assert server.told == ["DROP USER IF EXISTS `ann` ON CLUSTER `events`"]
    forget_analyst(LOGIN, analyst("ben"), [analyst("eve", "ws_two")], "events")
    assert "DROP DATABASE IF EXISTS `ws_one` ON CLUSTER `events` SYNC" in server.told
