"""Who may log in: what was presented against the directory, in constant time."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from headrace.store.server.answers import Refusal
from headrace.store.server.protocol import Credentials
from headrace.workspaces.port import Directory, StoreUser

_NOBODY: Final = bytes(32)


def find_user(directory: Directory, credentials: Credentials | None) -> StoreUser:
    """The user who presented these credentials; raises `Refusal` with the server's codes."""
    if credentials is None:
        raise Refusal(
            194, "REQUIRED_PASSWORD", "Authentication failed: send a user name and a password"
        )
    digest = hashlib.sha256(credentials.password.encode("utf-8", "surrogatepass")).digest()
    user = directory.find_store_user(credentials.user)
    expected = user.password_sha256 if user is not None else _NOBODY
    if not hmac.compare_digest(digest, expected) or user is None:
        raise Refusal(
            516,
            "AUTHENTICATION_FAILED",
            f"{credentials.user[:64]}: Authentication failed: password is incorrect, or there is"
            " no user with such name.",
        )
    return user
