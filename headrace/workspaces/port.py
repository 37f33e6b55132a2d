"""Control data as the stages see it: an immutable snapshot, replaced when something changes.

Owns the structs and the `Directory` contract. Where they are kept and how they are changed is
`database.py`; how keys look is `keys.py`.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec


class Scope(StrEnum):
    """What an API key may do."""

    INGEST = "ingest"
    QUERY = "query"
    ADMIN = "admin"


class Workspace(msgspec.Struct, frozen=True):
    """A tenant. `requests_per_minute` None means the node's default."""

    id: str
    name: str
    requests_per_minute: int | None
    rate_limit_dry_run: bool
    created_at: datetime


class ApiKey(msgspec.Struct, frozen=True):
    """A key as it is known to the node: never the key itself, only its SHA-256."""

    id: str
    workspace: Workspace
    name: str
    hint: str
    sha256: bytes
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class Role(StrEnum):
    """What a user of the store may do."""

    PROCESSOR = "processor"
    """Writes; not for people."""
    OPERATOR = "operator"
    """Reads everything of every workspace."""
    ANALYST = "analyst"
    """Reads one workspace through the views of its own database."""


class StoreUser(msgspec.Struct, frozen=True):
    """Somebody who may log in to the store. Passwords are long and random, so SHA-256 it is."""

    name: str
    role: Role
    password_sha256: bytes
    database: str
    workspace_id: str | None


class Log(msgspec.Struct, frozen=True):
    """A log that events were appended to. A record's place in it hangs on `partitions`.

    `id` is another for a topic made anew under the same name.
    """

    id: str
    name: str
    partitions: int
    created_at: datetime


class Directory(Protocol):
    """The snapshot, in memory: every method is pure look-up and never blocks."""

    def find_key(self, key: str) -> ApiKey | None:
        """The key that was presented, whatever its state; None if there is no such key.

        Constant time in what was presented: it is hashed, the hash is looked up.
        """
        ...

    def find_store_user(self, name: str) -> StoreUser | None: ...

    def find_log(self, log_id: str) -> Log | None:
        """The log as it was first seen; None if `ControlData.note_log` never saw it."""
        ...

    def note_use(self, key: ApiKey, now: datetime) -> None:
        """Remember that the key was used; written back in the background, coarsely."""
        ...
