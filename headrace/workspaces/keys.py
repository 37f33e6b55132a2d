"""How API keys, passwords and ids of control data look, and how keys are told apart.

Owns the format `hrk_` + 32 base-62 characters (190 random bits) + 6 base-62 characters of
CRC-32. The prefix lets secret scanners recognise a key, the checksum lets anybody tell a
mistyped key from an unknown one without a look-up. Who may do what with a key is `port.py`'s.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Final
from zlib import crc32

KEY_PREFIX: Final = "hrk_"
BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE32: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_SECRET_CHARACTERS: Final = 32
_CHECKSUM_CHARACTERS: Final = 6
KEY_CHARACTERS: Final = len(KEY_PREFIX) + _SECRET_CHARACTERS + _CHECKSUM_CHARACTERS
_PASSWORD_CHARACTERS: Final = 32
_ID_CHARACTERS: Final = 16

Choose = Callable[[str], str]
"""Picks one character of an alphabet; real ones pick unpredictably."""


def make_key(choose: Choose = secrets.choice) -> str:
    """A new API key. It is shown once; only its fingerprint is kept."""
    body = KEY_PREFIX + _characters(BASE62, _SECRET_CHARACTERS, choose)
    return body + _checksum(body)


def make_password(choose: Choose = secrets.choice) -> str:
    """A new password of a store user: 190 random bits, safe in URLs and shells."""
    return _characters(BASE62, _PASSWORD_CHARACTERS, choose)


def make_id(prefix: str, choose: Choose = secrets.choice) -> str:
    """A new id, `<prefix>_` and 16 lower-case base-32 characters.

    Such an id is a ClickHouse identifier as it stands, so that a workspace's database can
    bear the workspace's id.
    """
    return f"{prefix}_{_characters(_BASE32, _ID_CHARACTERS, choose)}"


def well_formed(text: str) -> bool:
    """Whether `text` has a key's prefix, length, alphabet and checksum (any text is fine)."""
    if len(text) != KEY_CHARACTERS or not text.isascii() or not text.startswith(KEY_PREFIX):
        return False
    body, checksum = text[:-_CHECKSUM_CHARACTERS], text[-_CHECKSUM_CHARACTERS:]
    return body[len(KEY_PREFIX) :].isalnum() and _checksum(body) == checksum


def fingerprint(text: str) -> bytes:
    """SHA-256 of a key or password: what is kept. Plain, for 190 random bits need no salt."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def hint(text: str) -> str:
    """The first 8 and last 4 characters: enough to recognise a key, no use to a thief."""
    return f"{text[:8]}...{text[-4:]}"


def _characters(alphabet: str, count: int, choose: Choose) -> str:
    return "".join(choose(alphabet) for _ in range(count))


def _checksum(body: str) -> str:
    number = crc32(body.encode("ascii"))
    digits = []
    for _ in range(_CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(BASE62))
        digits.append(BASE62[digit])
    return "".join(reversed(digits))
