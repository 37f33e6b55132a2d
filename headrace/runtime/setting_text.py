"""How the text of a setting is read: addresses, URLs, numbers, lists.

Every function takes text and raises ValueError with what it expected instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_network
from math import nan
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,200}")


class Address(msgspec.Struct, frozen=True):
    """A host and a port to listen on or to reach."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """How this machine reaches it over plain HTTP."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://{Address(host, self.port)}"


def parse_address(text: str) -> Address:
    """`host:port` or `[v6]:port`; raises ValueError with what is wrong."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("expected host:port, for example 127.0.0.1:8080")
    return Address(host, int(port))


def whole_number(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number <= 0:
        raise ValueError("expected a whole number above 0")
    return number


def at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if (number := whole_number(text)) < least:
            raise ValueError(f"expected a whole number, at least {least}")
        return number

    return parse


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan


def seconds(text: str) -> float:
    number = _float(text)
    if not 0 < number < 1e9:
        raise ValueError("expected a number of seconds above 0")
    return number


def optional_seconds(text: str) -> float | None:
    return seconds(text) if text else None


def offset(text: str) -> float:
    number = _float(text)
    if not -1e9 < number < 1e9:
        raise ValueError("expected a number of seconds, at most some thirty years")
    return number


def path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def optional_path(text: str) -> Path | None:
    return path(text) if text else None


def words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def networks(text: str) -> tuple[str, ...]:
    found = words(text)
    for word in found:
        try:
            ip_network(word, strict=False)
        except ValueError:
            raise ValueError(
                f"{word!r} is no address or network, such as 10.0.0.1 or 10.0.0.0/8"
            ) from None
    return found


def choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return text.lower()

    return parse


class ClickHouseUrl(msgspec.Struct, frozen=True):
    """A ClickHouse server over HTTP: where it is, who logs in, and which database is ours."""

    url: str
    user: str
    password: str
    database: str


def parse_clickhouse(text: str) -> ClickHouseUrl | None:
    """`http(s)://user:password@host:port/database`; raises ValueError with what is wrong."""
    if not text:
        return None
    _insist_on_escapes(text)
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("expected http(s)://user:password@host:port/database")
    if parts.query or parts.fragment:
        raise ValueError("expected nothing behind the database")
    port = _port(text) or (8443 if parts.scheme == "https" else 8123)
    return ClickHouseUrl(
        f"{parts.scheme}://{Address(parts.hostname, port)}",
        unquote(parts.username or "default"),
        unquote(parts.password or ""),
        unquote(parts.path.strip("/")) or "headrace",
    )


def url_of(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text and urlsplit(text).scheme not in schemes:
            wanted = " or ".join(f"{scheme}://…" for scheme in schemes)
            raise ValueError(f"expected {wanted}")
        _insist_on_escapes(text)
        _port(text)
        return text

    return parse


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        raise ValueError("its port is no number up to 65535") from None


def _insist_on_escapes(text: str) -> None:
    # Else a part of the password is taken for a host or a path, and shown as one.
    if text.count("@") > (1 if "@" in urlsplit(text).netloc else 0):
        raise ValueError("write %40 for an @ in user or password, %2F for /, %23 for #, %3F for ?")


def addresses(text: str) -> tuple[Address, ...]:
    found = words(text)
    if "/" in text or (text and not found):
        raise ValueError("expected host:port, several separated by commas")
    try:
        return tuple(parse_address(word) for word in found)
    except ValueError:
        raise ValueError("expected host:port, several separated by commas") from None


def optional_whole_number(text: str) -> int | None:
    return whole_number(text) if text else None


def optional_at_least(least: int) -> Callable[[str], int | None]:
    parse = at_least(least)
    return lambda text: parse(text) if text else None


def share(text: str) -> float:
    number = _float(text)
    if not 0 < number <= 1:
        raise ValueError("expected a share above 0, at most 1")
    return number


def name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("expected letters, digits, '.', '_' and '-', at most 200")
    return text
