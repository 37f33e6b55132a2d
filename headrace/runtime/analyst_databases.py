"""What analysts read: a database for each workspace that has one, and on a server the users too.

Idempotent, so that whoever comes first makes them: `headrace analysts create` if the store
answers, else the next start of the node or `headrace migrate`, which also bring the views up to
date after a migration. The embedded server knows its users from control data; a ClickHouse server
is told of them (`store/analyst_users.py`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from contextlib import closing
from typing import Final

from headrace.runtime.credentials import StoreLogin
from headrace.schemas.errors import HeadraceError, Unavailable
from headrace.store.analyst_users import AnalystAccess, AnalystUser
from headrace.store.analysts import create_database, drop_database
from headrace.store.connection import Connection, Settings
from headrace.store.text import quote
from headrace.workspaces.port import Role, StoreUser

_DENIED: Final = re.compile(r"code: 497\b|ACCESS_DENIED")
_REPLICATED_USERS: Final = "ignore_on_cluster_for_replicated_access_entities_queries"


class CannotManageUsers(HeadraceError):
    """The login that was set may not make users on the server."""


class NameTaken(HeadraceError):
    """The server has a user of that name who is no analyst of ours."""


def ensure_analyst_databases(login: StoreLogin, users: Iterable[StoreUser]) -> list[str]:
    """In the embedded store: the database of every analyst among `users`; returns their names.

    Raises the errors of the store's port; the tables must be there (`store/migrate.py`).
    """
    workspaces = {user.workspace_id for user in users if user.role is Role.ANALYST}
    with closing(_connect(login)) as connection:
        return [
            create_database(connection, workspace_id, login.database)
            for workspace_id in sorted(filter(None, workspaces))
        ]


def ensure_analyst_users(
    login: StoreLogin, users: Iterable[StoreUser], cluster: str, *, only_new: bool = False
) -> list[str]:
    """On a server: every analyst among `users` with all it needs; returns their names.

    With `only_new` those the server knows are left as they are. Raises `CannotManageUsers`,
    `NameTaken` before anything is done, and the errors of the store's port.
    """
    wanted = [
        AnalystUser(user.name, user.password_sha256, user.workspace_id)
        for user in users
        if user.role is Role.ANALYST and user.workspace_id is not None
    ]
    if not wanted:
        return []
    with closing(_connect(login)) as connection:
        server = _Server(connection, login, cluster)
        known = server.known([user.name for user in wanted])
        for user in wanted:
            server.demand_ours(user, known)
        made = [user for user in wanted if not (only_new and user.name in known)]
        for user in made:
            server.run(server.access.create(user))
        return [user.name for user in made]


def forget_analyst(
    login: StoreLogin, user: StoreUser, others: Iterable[StoreUser], cluster: str | None
) -> None:
    """Take away what the user had; what the workspace had, if no other analyst needs it.

    `cluster` is None for the embedded store. The rows stay. Raises as `ensure_analyst_users`.
    """
    workspace_id = user.workspace_id
    if workspace_id is None:
        return
    is_last = all(other.workspace_id != workspace_id for other in others)
    with closing(_connect(login)) as connection:
        if cluster is None:
            if is_last:
                drop_database(connection, workspace_id)
            return
        server = _Server(connection, login, cluster)
        server.demand_ours(AnalystUser(user.name, b"", workspace_id), server.known([user.name]))
        server.run(server.access.drop_user(user.name))
        if is_last:
            server.run(server.access.drop_workspace(workspace_id))


class _Server:
    """One ClickHouse server or cluster, by the login that may make users."""

    def __init__(self, connection: Connection, login: StoreLogin, cluster: str) -> None:
        self._connection = connection
        self._user = login.user
        known = {str(row[0]) for row in connection.rows("SELECT name FROM system.settings")}
        self._settings: Settings = {_REPLICATED_USERS: 1} if _REPLICATED_USERS in known else {}
        self.access = AnalystAccess(database=login.database, cluster=cluster, known=known)

    def known(self, names: Collection[str]) -> dict[str, set[str]]:
        """Of these names those the server has, and the roles of each."""
        listed = ", ".join(map(quote, names))
        rows = self._ask(
            "SELECT name, groupUniqArray(granted_role_name) FROM system.users "  # noqa: S608 - quoted
            f"LEFT JOIN system.role_grants ON user_name = name WHERE name IN ({listed}) "
            "GROUP BY name"
        )
        return {str(name): {str(role) for role in roles} for name, roles in rows}

    def demand_ours(self, user: AnalystUser, known: dict[str, set[str]]) -> None:
        """Raises `NameTaken` for somebody else: their password would be replaced."""
        if user.name in known and self.access.role(user.workspace_id) not in known[user.name]:
            raise NameTaken(
                f"the server has a user {user.name!r} already, who is no analyst of this "
                "workspace. Choose another name with --name"
            )

    def run(self, statements: Iterable[str]) -> None:
        for statement in statements:
            try:
                self._connection.run(statement, settings=self._settings)
            except Unavailable as error:
                raise self._explained(error) from error

    def _ask(self, sql: str) -> list[tuple[object, list[str]]]:
        try:
            return [(name, roles) for name, roles in self._connection.rows(sql)]
        except Unavailable as error:
            raise self._explained(error) from error

    def _explained(self, error: Unavailable) -> HeadraceError:
        if not _DENIED.search(str(error)):
            return error
        return CannotManageUsers(
            f"the user {self._user} of HEADRACE_CLICKHOUSE may not make analysts. Grant it ACCESS "
            "MANAGEMENT ON *.* and SET DEFINER ON *, and what analysts get WITH GRANT OPTION "
            f"(docs/decisions/0008-clickhouse-cluster.md): {error}"
        )


def _connect(login: StoreLogin) -> Connection:
    return Connection(login.url, login.user, login.password, database="default")
