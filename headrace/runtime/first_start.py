"""What a node needs before it can start: a workspace, a key, users of the store, their files.

Idempotent: every start makes what is missing and leaves the rest alone, so that a first start
that was killed half-way is completed by the next one.
"""

from __future__ import annotations

from typing import Final

from headrace.runtime.credentials import (
    AnalystLogin,
    Credentials,
    StoreLogin,
    write_credentials,
    write_processor_login,
)
from headrace.runtime.files import read_json
from headrace.runtime.home import Home
from headrace.workspaces.database import ControlData
from headrace.workspaces.errors import Unknown
from headrace.workspaces.keys import fingerprint
from headrace.workspaces.port import Role, Scope, StoreUser, Workspace

WORKSPACE: Final = "default"
KEY_NAME: Final = "credentials.json"


def complete_home(home: Home, control: ControlData, store_url: str) -> Credentials:
    """Make whatever is missing; the credentials as they now are in HOME."""
    workspace = _workspace(control)
    found = read_json(home.credentials, Credentials)
    analyst = _login(control, Role.ANALYST, found.analyst if found else None, store_url, workspace)
    credentials = Credentials(
        workspace_id=workspace.id,
        api_key=_api_key(control, workspace, found),
        clickhouse=_login(control, Role.OPERATOR, found.clickhouse if found else None, store_url),
        analyst=AnalystLogin(analyst.user, analyst.password, analyst.database),
    )
    if credentials != found:
        write_credentials(home, credentials)
    known = read_json(home.processor, StoreLogin)
    processor = _login(control, Role.PROCESSOR, known, store_url)
    if processor != known:
        write_processor_login(home, processor)
    return credentials


def _workspace(control: ControlData) -> Workspace:
    try:
        return control.find_workspace(WORKSPACE)
    except Unknown:
        return control.create_workspace(WORKSPACE)


def _api_key(control: ControlData, workspace: Workspace, found: Credentials | None) -> str:
    keys = control.list_keys(workspace)
    if found is not None and fingerprint(found.api_key) in {key.sha256 for key in keys}:
        return found.api_key
    for key in keys:
        # Made by a start that was killed before it could write the file: nobody knows it.
        if key.name == KEY_NAME and key.last_used_at is None and key.revoked_at is None:
            control.revoke_key(key.id)
    return control.create_key(workspace, scopes=(Scope.INGEST,), name=KEY_NAME)


def _login(
    control: ControlData,
    role: Role,
    found: StoreLogin | AnalystLogin | None,
    url: str,
    workspace: Workspace | None = None,
) -> StoreLogin:
    user = _user(control, role, found, workspace)
    if user is not None and found is not None:
        return StoreLogin(url, user.database, user.name, found.password)
    made = (
        control.create_store_user(role, workspace=workspace)
        if user is None
        else control.replace_store_password(user.name)
    )
    return StoreLogin(url, made.database, made.user, made.password)


def _user(
    control: ControlData,
    role: Role,
    found: StoreLogin | AnalystLogin | None,
    workspace: Workspace | None,
) -> StoreUser | None:
    of_role = [
        user
        for user in control.list_store_users()
        if user.role is role and user.workspace_id == (workspace.id if workspace else None)
    ]
    if found is not None:
        return next((user for user in of_role if user.name == found.user), None)
    return of_role[0] if of_role else None
