"""An analyst's database: views that hold one workspace, without the log's columns.

Owns those views. Making them again is harmless, and is how they follow a migration. That nothing
else can be read is the wall's business (`server/wall.py`), on a real server that of grants and row
policies (`analyst_users.py`).
"""
# ruff: noqa: S608 - names and values are quoted

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from headrace.schemas.errors import HeadraceError
from headrace.store.connection import Connection
from headrace.store.text import quote, quote_name

_WORKSPACE: Final = re.compile(r"ws_[0-9A-Za-z_]{1,64}")

VIEWS: Final[Mapping[str, str]] = {
    "events": "event_id, event, user_id, anonymous_id, person_id, timestamp, received_at, "
    "timeliness, properties, properties_raw",
    "rejected_events": "event_id, event, user_id, anonymous_id, timestamp, received_at, "
    "properties_raw, code, reason, path, schema, raw, replayed",
    "deduplicated_events": "event_id, request, deduplicated_at",
    "identity_links": "anonymous_id, user_id, linked_at, source_event_id",
}
"""Name → what it shows after `workspace_id`."""


class NotAWorkspace(HeadraceError):
    """The id cannot be that of a workspace, and so makes no database."""


def database_of(workspace_id: str) -> str:
    """The name of the database: the workspace's id. Raises `NotAWorkspace`."""
    if not _WORKSPACE.fullmatch(workspace_id):
        raise NotAWorkspace(f"{workspace_id!r} is no id of a workspace (ws_…)")
    return workspace_id


def view_statements(
    workspace_id: str, database: str, *, on_cluster: str = "", definer: str = ""
) -> list[str]:
    """The workspace's views; with a `definer` they read as that user, whoever asks."""
    name = quote_name(database_of(workspace_id))
    reads_as = f" DEFINER = {quote_name(definer)} SQL SECURITY DEFINER" if definer else ""
    return [
        f"CREATE OR REPLACE VIEW {name}.{view}{on_cluster}{reads_as} AS "
        f"SELECT workspace_id, {columns} FROM {quote_name(database)}.{view} "
        f"WHERE workspace_id = {quote(workspace_id)}"
        for view, columns in VIEWS.items()
    ]


def create_database(connection: Connection, workspace_id: str, database: str = "headrace") -> str:
    """Make the workspace's database and views, or bring them up to date; returns its name."""
    name = database_of(workspace_id)
    connection.run(f"CREATE DATABASE IF NOT EXISTS {quote_name(name)}")
    for statement in view_statements(workspace_id, database):
        connection.run(statement)
    return name


def drop_database(connection: Connection, workspace_id: str) -> None:
    """Forget the views; the rows stay where they are."""
    connection.run(f"DROP DATABASE IF EXISTS {quote_name(database_of(workspace_id))} SYNC")
