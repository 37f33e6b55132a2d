"""Users of the store as they are made: name, password, database.

Owns who reads which database. Shared by what keeps users (`database.py`, `memory.py`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from headrace.workspaces import keys
from headrace.workspaces.checks import checked_name
from headrace.workspaces.errors import NotUsable
from headrace.workspaces.port import Role, StoreUser, Workspace

SHARED_DATABASE: Final = "headrace"
"""Where the processor writes and the operator reads. An analyst's database bears the id of
the workspace."""


class Credentials(msgspec.Struct, frozen=True):
    """What somebody needs to log in to the store; the password is shown this once."""

    user: str
    password: str
    database: str


def new_credentials(role: Role, workspace: Workspace | None, name: str | None) -> Credentials:
    """A name (the role's, or `analyst_…`, unless given), a password, and the database.

    Raises `NotUsable` for an analyst without a workspace and for anybody else with one.
    """
    if (role is Role.ANALYST) != (workspace is not None):
        raise NotUsable("an analyst needs a workspace, and only an analyst has one.")
    default = f"analyst_{workspace.id.removeprefix('ws_')}" if workspace else role.value
    return Credentials(
        user=default if name is None else checked_name("user name", name),
        password=keys.make_password(),
        database=workspace.id if workspace else SHARED_DATABASE,
    )


def stored_user(role: Role, workspace: Workspace | None, credentials: Credentials) -> StoreUser:
    """The user as it is kept: without the password."""
    return StoreUser(
        name=credentials.user,
        role=role,
        password_sha256=keys.fingerprint(credentials.password),
        database=credentials.database,
        workspace_id=workspace.id if workspace else None,
    )
