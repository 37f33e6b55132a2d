"""`HOME/credentials.json`: how a person or a script on this machine gets in.

Owns the file's shape, which other people's scripts rely on, and the processor's own
`processor.json`. Making what is in them is `first_start.py`'s.
"""

from __future__ import annotations

import msgspec

from headrace.runtime.files import read_json, write_atomically
from headrace.runtime.home import Home
from headrace.schemas.errors import HeadraceError


class NoCredentials(HeadraceError):
    """HOME has no usable credentials."""


class StoreLogin(msgspec.Struct, frozen=True):
    """How to reach the store over HTTP, and as whom."""

    url: str
    database: str
    user: str
    password: str


class AnalystLogin(msgspec.Struct, frozen=True):
    """The analyst of the workspace `default`; the URL is that of `clickhouse`."""

    user: str
    password: str
    database: str


class Credentials(msgspec.Struct, frozen=True):
    """What is in `credentials.json`; `clickhouse` is the operator."""

    workspace_id: str
    api_key: str
    clickhouse: StoreLogin
    analyst: AnalystLogin


def find_credentials(home: Home) -> Credentials | None:
    """None before the first start. Raises `NoCredentials` with what to do if they are damaged."""
    found = read_json(home.credentials, Credentials)
    if found is None and home.credentials.exists():
        raise NoCredentials(
            f"{home.credentials} is damaged. Put back what was in it, from a backup for example; "
            "or remove it: the next start makes a new API key and new passwords."
        )
    return found


def read_credentials(home: Home) -> Credentials:
    """Raises `NoCredentials` with what to do if there are none."""
    found = find_credentials(home)
    if found is None:
        raise _missing(home)
    return found


def read_processor_login(home: Home) -> StoreLogin:
    """Raises `NoCredentials` with what to do if there is none."""
    found = read_json(home.processor, StoreLogin)
    if found is None:
        raise _missing(home)
    return found


def write_credentials(home: Home, credentials: Credentials) -> None:
    write_atomically(home.credentials, _readable(credentials))


def write_processor_login(home: Home, login: StoreLogin) -> None:
    write_atomically(home.processor, _readable(login))


def _readable(content: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def _missing(home: Home) -> NoCredentials:
    return NoCredentials(
        f"there are no credentials in {home.root}. Start a node there with `headrace up`, or say "
        "with --home (HEADRACE_HOME) where it is."
    )
