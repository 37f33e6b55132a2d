"""Control data at one moment, ready for look-up: what directories hand out.

Owns the look-up itself, the same for every directory. Where a snapshot comes from is the
directories' business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from headrace.workspaces.keys import fingerprint
from headrace.workspaces.port import ApiKey, Log, StoreUser


class Snapshot(msgspec.Struct, frozen=True):
    """Immutable; replaced whole when the revision of control data has changed."""

    revision: int
    keys: Mapping[bytes, ApiKey]
    store_users: Mapping[str, StoreUser]
    logs: Mapping[str, Log]

    def find_key(self, key: str) -> ApiKey | None:
        """As `Directory.find_key`."""
        return self.keys.get(_fingerprint(key))

    def find_store_user(self, name: str) -> StoreUser | None:
        """As `Directory.find_store_user`."""
        return self.store_users.get(name)

    def find_log(self, log_id: str) -> Log | None:
        """As `Directory.find_log`."""
        return self.logs.get(log_id)


def take_snapshot(
    revision: int, keys: Iterable[ApiKey], users: Iterable[StoreUser], logs: Iterable[Log]
) -> Snapshot:
    """A snapshot of these keys, users and logs: by fingerprint, by name and by id."""
    return Snapshot(
        revision=revision,
        keys={key.sha256: key for key in keys},
        store_users={user.name: user for user in users},
        logs={log.id: log for log in logs},
    )


_fingerprint: Final = lru_cache(1_024)(fingerprint)  # each comes with every request of its sender
