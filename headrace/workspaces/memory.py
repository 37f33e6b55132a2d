"""The directory in memory: what tests of other parts use instead of a database.

Makes keys, workspaces and users under the names `ControlData` has for it, in force at once.
Passes the same contract suite as `LiveDirectory`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec

from headrace.runtime.clock import Clock
from headrace.workspaces import keys
from headrace.workspaces.checks import checked_limit, checked_name, checked_scopes
from headrace.workspaces.credentials import Credentials, new_credentials, stored_user
from headrace.workspaces.errors import Unknown
from headrace.workspaces.logs import same_partitions
from headrace.workspaces.port import ApiKey, Log, Role, Scope, StoreUser, Workspace


class MemoryDirectory:
    """Implements `Directory`; `uses` is what was noted, by key id."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._keys: dict[bytes, ApiKey] = {}
        self._users: dict[str, StoreUser] = {}
        self._logs: dict[str, Log] = {}
        self.uses: dict[str, datetime] = {}

    def find_key(self, key: str) -> ApiKey | None:
        return self._keys.get(keys.fingerprint(key))

    def find_store_user(self, name: str) -> StoreUser | None:
        return self._users.get(name)

    def find_log(self, log_id: str) -> Log | None:
        return self._logs.get(log_id)

    def note_use(self, key: ApiKey, now: datetime) -> None:
        self.uses[key.id] = now

    def create_workspace(
        self, name: str, *, requests_per_minute: int | None = None, dry_run: bool = False
    ) -> Workspace:
        """A new workspace; it exists through its keys and users alone."""
        return Workspace(
            id=keys.make_id("ws"),
            name=checked_name("workspace name", name),
            requests_per_minute=checked_limit(requests_per_minute),
            rate_limit_dry_run=dry_run,
            created_at=self._clock.now(),
        )

    def create_key(
        self,
        workspace: Workspace,
        *,
        scopes: Collection[Scope | str] = (Scope.INGEST,),
        name: str = "",
        expires_at: datetime | None = None,
    ) -> str:
        """A new key, in clear."""
        text = keys.make_key()
        key = ApiKey(
            id=keys.make_id("key"),
            workspace=workspace,
            name=name,
            hint=keys.hint(text),
            sha256=keys.fingerprint(text),
            scopes=checked_scopes(scopes),
            created_at=self._clock.now(),
            expires_at=expires_at,
            revoked_at=None,
            last_used_at=None,
        )
        self._keys[key.sha256] = key
        return text

    def revoke_key(self, text: str) -> ApiKey:
        """Revoke a key, given whole."""
        key = self.find_key(text)
        if key is None:
            raise Unknown("there is no such key.")
        revoked = msgspec.structs.replace(key, revoked_at=self._clock.now())
        self._keys[key.sha256] = revoked
        return revoked

    def create_store_user(
        self, role: Role, *, workspace: Workspace | None = None, name: str | None = None
    ) -> Credentials:
        """A new user of the store and the password, in clear."""
        credentials = new_credentials(role, workspace, name)
        self._users[credentials.user] = stored_user(role, workspace, credentials)
        return credentials

    def note_log(self, log_id: str, name: str, partitions: int) -> Log:
        """A log as it is now; raises `OtherPartitions` if it was known with another number."""
        log = Log(log_id, name, partitions, self._clock.now())
        return same_partitions(self._logs.setdefault(log_id, log), partitions)
