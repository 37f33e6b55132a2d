"""What a node needs before it can start: a workspace, a key, users of the store, their files.

Idempotent: every start makes what is missing and leaves the rest alone, so that a first start
that was killed half-way is completed by the next one.
"""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final

from headrace.runtime.credentials import (
    AnalystLogin,
    Credentials,
    StoreLogin,
    find_credentials,
    write_credentials,
    write_processor_login,
)
from headrace.runtime.files import read_json
from headrace.runtime.home import Home
from headrace.runtime.reach import login_of
from headrace.runtime.settings import Settings
from headrace.workspaces.database import ControlData
from headrace.workspaces.errors import Taken, Unknown
from headrace.workspaces.keys import fingerprint
from headrace.workspaces.port import Role, Scope, StoreUser, Workspace

WORKSPACE: Final = "default"
KEY_NAME: Final = "credentials.json"


def complete_home(home: Home, control: ControlData, settings: Settings) -> Credentials:
    """Make whatever is missing; the credentials as they now are in HOME."""
    with _turn(home):
        return _complete(home, control, settings)


@contextmanager
def _turn(home: Home) -> Iterator[None]:
    """One process at a time: a key whose owner has not written it down yet looks like a dead
    start's, and would be revoked."""
    with home.process_lock("credentials").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _complete(home: Home, control: ControlData, settings: Settings) -> Credentials:
    logins = _Logins(home, control, settings)
    workspace = ensure_workspace(control)
    found = find_credentials(home)
    analyst = logins.of(Role.ANALYST, found.analyst if found else None, workspace)
    credentials = Credentials(
        workspace_id=workspace.id,
        api_key=_api_key(control, workspace, found, KEY_NAME + logins.suffix),
        clickhouse=logins.of(Role.OPERATOR, found.clickhouse if found else None),
        analyst=AnalystLogin(analyst.user, analyst.password, analyst.database),
    )
    if credentials != found:
        write_credentials(home, credentials)
    if settings.has_embedded_store:
        known = read_json(home.processor, StoreLogin)
        processor = logins.of(Role.PROCESSOR, known)
        if processor != known:
            write_processor_login(home, processor)
    return credentials


def ensure_workspace(control: ControlData) -> Workspace:
    """The workspace `default`, made if it is not there."""
    try:
        return control.find_workspace(WORKSPACE)
    except Unknown:
        pass
    try:
        return control.create_workspace(WORKSPACE)
    except Taken:  # another process, of this HOME or another, was faster
        return control.find_workspace(WORKSPACE)


def _api_key(
    control: ControlData, workspace: Workspace, found: Credentials | None, name: str
) -> str:
    keys = control.list_keys(workspace)
    if found is not None and fingerprint(found.api_key) in {key.sha256 for key in keys}:
        return found.api_key
    for key in keys:
        # Made by a start that was killed before it could write the file: nobody knows it.
        if key.name == name and key.last_used_at is None and key.revoked_at is None:
            control.revoke_key(key.id)
    return control.create_key(workspace, scopes=(Scope.INGEST,), name=name)


class _Logins:
    """Users of the store, made or found again.

    Several nodes may share control data: then each has users (and a key) that bear the name of
    its machine and a digest of where HOME is there, and leaves those of the others alone.
    """

    def __init__(self, home: Home, control: ControlData, settings: Settings) -> None:
        self._control = control
        self._settings = settings
        where = blake2b(str(home.root.resolve()).encode(), digest_size=3).hexdigest()
        self.suffix = "" if settings.has_local_control else f"@{socket.gethostname()[:60]}-{where}"

    def of(
        self,
        role: Role,
        found: StoreLogin | AnalystLogin | None,
        workspace: Workspace | None = None,
    ) -> StoreLogin:
        """The login of a role; a new password if HOME does not know the old one."""
        server = self._settings.clickhouse
        if server is not None and role is not Role.ANALYST:
            return login_of(server)
        url = self._settings.store_listen.url if server is None else server.url
        user = self._user(role, found, workspace)
        if user is not None and found is not None:
            return StoreLogin(url, user.database, user.name, found.password)
        made = (
            self._control.create_store_user(role, workspace=workspace, name=self._name(role))
            if user is None
            else self._control.replace_store_password(user.name)
        )
        return StoreLogin(url, made.database, made.user, made.password)

    def _name(self, role: Role) -> str | None:
        return f"{role.value}{self.suffix}" if self.suffix else None

    def _user(
        self, role: Role, found: StoreLogin | AnalystLogin | None, workspace: Workspace | None
    ) -> StoreUser | None:
        ours = [
            user
            for user in self._control.list_store_users()
            if user.role is role
            and user.workspace_id == (workspace.id if workspace else None)
            and user.name.endswith(self.suffix)
        ]
        if found is not None:
            return next((user for user in ours if user.name == found.user), None)
        return ours[0] if ours else None
