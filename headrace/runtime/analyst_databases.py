"""The databases that analysts read: made for every analyst that control data knows.

Idempotent, so that whoever comes first makes them: `headrace analysts create` if the store
runs, else the next start of the node, which also brings the views up to date after a migration.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing

from headrace.runtime.credentials import StoreLogin
from headrace.store.analysts import create_database
from headrace.store.connection import Connection
from headrace.workspaces.port import Role, StoreUser


def ensure_analyst_databases(login: StoreLogin, users: Iterable[StoreUser]) -> list[str]:
    """Make the database of every analyst among `users`, as the processor; returns their names.

    Raises the errors of the store's port; the tables must be there (`store/migrate.py`).
    """
    workspaces = {user.workspace_id for user in users if user.role is Role.ANALYST}
    connection = Connection(login.url, login.user, login.password, database="default")
    with closing(connection):
        return [
            create_database(connection, workspace_id, login.database)
            for workspace_id in sorted(filter(None, workspaces))
        ]
