"""The ids of people who were erased, as they are kept: hashed, so that none can be read off.

Owns the hash, and whose an event is: the user's that it names, else the device's. Whoever guesses
an id can see whether it was erased; no secret would help against that, for whoever guesses could
as well send an event and look for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Final

ErasedIds = Mapping[str, Collection[str]]
"""Workspace id → digests."""

_SEPARATOR: Final = "\x1f"


def digest_of_user(workspace_id: str, user_id: str) -> str:
    """Of a user id of that workspace."""
    return _digest(workspace_id, "user", user_id)


def digest_of_device(workspace_id: str, anonymous_id: str) -> str:
    """Of an anonymous id of that workspace."""
    return _digest(workspace_id, "device", anonymous_id)


def is_erased(
    digests: Collection[str], workspace_id: str, user_id: str | None, anonymous_id: str | None
) -> bool:
    """Whether an event with these ids (None if absent or nobody's) is of one of those people.

    Who is logged in on the device of somebody else is not that one.
    """
    if user_id is not None:
        return digest_of_user(workspace_id, user_id) in digests
    return anonymous_id is not None and digest_of_device(workspace_id, anonymous_id) in digests


def _digest(*parts: str) -> str:
    return hashlib.sha256(_SEPARATOR.join(parts).encode("utf-8", "surrogatepass")).hexdigest()
