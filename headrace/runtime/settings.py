"""Every setting, once: names, defaults, what they mean, and how they are read.

The only place that reads `os.environ`. The README's table is made from `SETTINGS`
(`headrace settings --markdown`), `headrace check` prints them without secrets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from math import nan
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.schemas.errors import HeadraceError

MEBIBYTE: Final = 1024 * 1024


class BadSettings(HeadraceError):
    """One or more settings cannot be used; the message names them all."""


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


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number <= 0:
        raise ValueError("expected a whole number above 0")
    return number


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan


def _seconds(text: str) -> float:
    number = _float(text)
    if not 0 < number < 1e9:
        raise ValueError("expected a number of seconds above 0")
    return number


def _offset(text: str) -> float:
    number = _float(text)
    if not -1e9 < number < 1e9:
        raise ValueError("expected a number of seconds, at most some thirty years")
    return number


def _flag(text: str) -> bool:
    if text.lower() not in {"0", "1", "true", "false", "yes", "no", "on", "off"}:
        raise ValueError("expected true or false")
    return text.lower() in {"1", "true", "yes", "on"}


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _optional_path(text: str) -> Path | None:
    return _path(text) if text else None


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _networks(text: str) -> tuple[str, ...]:
    words = _words(text)
    for word in words:
        try:
            ip_network(word, strict=False)
        except ValueError:
            raise ValueError(
                f"{word!r} is no address or network, such as 10.0.0.1 or 10.0.0.0/8"
            ) from None
    return words


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}")
        return text.lower()

    return parse


class Setting(msgspec.Struct, frozen=True):
    """One row of the table: the environment's name, the default as text, the meaning."""

    variable: str
    default: str
    meaning: str
    parse: Callable[[str], Any]


SETTINGS: Final[Mapping[str, Setting]] = {
    "home": Setting("HEADRACE_HOME", "./.headrace", "Folder of everything the node keeps.", _path),
    "listen": Setting(
        "HEADRACE_LISTEN", "127.0.0.1:8080", "Where the collector listens.", parse_address
    ),
    "store_listen": Setting(
        "HEADRACE_STORE_LISTEN",
        "127.0.0.1:8123",
        "Where the embedded ClickHouse server listens.",
        parse_address,
    ),
    "processor_listen": Setting(
        "HEADRACE_PROCESSOR_LISTEN",
        "",
        "Where the processor serves its own `/metrics`; empty: nowhere.",
        lambda text: parse_address(text) if text else None,
    ),
    "tls_certificate": Setting(
        "HEADRACE_TLS_CERTIFICATE", "", "PEM file; the collector then speaks TLS.", _optional_path
    ),
    "tls_key": Setting(
        "HEADRACE_TLS_KEY", "", "PEM file of the certificate's key.", _optional_path
    ),
    "trusted_proxies": Setting(
        "HEADRACE_TRUSTED_PROXIES",
        "",
        "Peers whose `X-Forwarded-For` is believed, separated by commas.",
        _networks,
    ),
    "cors_origins": Setting(
        "HEADRACE_CORS_ORIGINS",
        "*",
        "Origins whose pages may send events, separated by commas.",
        _words,
    ),
    "requests_per_minute": Setting(
        "HEADRACE_REQUESTS_PER_MINUTE",
        "100",
        "Requests a workspace may send in any 60 s, unless it has a limit of its own.",
        _positive,
    ),
    "max_bytes_in_flight": Setting(
        "HEADRACE_MAX_BYTES_IN_FLIGHT",
        str(64 * MEBIBYTE),
        "Bodies the collector holds at once; past it requests wait, then get 503.",
        _positive,
    ),
    "header_timeout_seconds": Setting(
        "HEADRACE_HEADER_TIMEOUT_SECONDS",
        "10",
        "A request's headers must be there by then.",
        _seconds,
    ),
    "body_timeout_seconds": Setting(
        "HEADRACE_BODY_TIMEOUT_SECONDS", "30", "A request's body must be there by then.", _seconds
    ),
    "log_max_bytes": Setting(
        "HEADRACE_LOG_MAX_BYTES",
        str(8 * 1024 * MEBIBYTE),
        "Bound of the local log; when it is full the collector answers 503 until there is room.",
        _positive,
    ),
    "flush_rows": Setting(
        "HEADRACE_FLUSH_ROWS",
        "50000",
        "The processor writes a block at this many events.",
        _positive,
    ),
    "flush_bytes": Setting(
        "HEADRACE_FLUSH_BYTES",
        str(32 * MEBIBYTE),
        "The processor writes a block at this many bytes.",
        _positive,
    ),
    "flush_seconds": Setting(
        "HEADRACE_FLUSH_SECONDS", "0.2", "The processor writes a block at this age.", _seconds
    ),
    "schemas": Setting(
        "HEADRACE_SCHEMAS",
        "",
        "Folder of event schemas (`<event>.json`) used instead of the shipped taxonomy.",
        _optional_path,
    ),
    "store_max_queries": Setting(
        "HEADRACE_STORE_MAX_QUERIES",
        "8",
        "Queries of people the embedded store runs at once.",
        _positive,
    ),
    "store_query_seconds": Setting(
        "HEADRACE_STORE_QUERY_SECONDS", "60", "The longest a person's query may run.", _seconds
    ),
    "store_query_bytes": Setting(
        "HEADRACE_STORE_QUERY_BYTES",
        str(2 * 1024 * MEBIBYTE),
        "Memory a person's query may take.",
        _positive,
    ),
    "log_format": Setting(
        "HEADRACE_LOG_FORMAT", "console", "`console` or `json`.", _choice("console", "json")
    ),
    "log_level": Setting(
        "HEADRACE_LOG_LEVEL",
        "info",
        "`debug`, `info`, `warning` or `error`.",
        _choice("debug", "info", "warning", "error"),
    ),
    "clock_offset_seconds": Setting(
        "HEADRACE_CLOCK_OFFSET_SECONDS", "0", "Moves the process's clock; for fault tests.", _offset
    ),
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings, read once. The fields are documented in `SETTINGS`."""

    home: Path
    listen: Address
    store_listen: Address
    processor_listen: Address | None
    tls_certificate: Path | None
    tls_key: Path | None
    trusted_proxies: tuple[str, ...]
    cors_origins: tuple[str, ...]
    requests_per_minute: int
    max_bytes_in_flight: int
    header_timeout_seconds: float
    body_timeout_seconds: float
    log_max_bytes: int
    flush_rows: int
    flush_bytes: int
    flush_seconds: float
    schemas: Path | None
    store_max_queries: int
    store_query_seconds: float
    store_query_bytes: int
    log_format: str
    log_level: str
    clock_offset_seconds: float


def read_settings(
    environment: Mapping[str, str] | None = None, **options: str | Path | None
) -> Settings:
    """Settings from the environment, overridden by `options` (field names) that are not None.

    Raises `BadSettings` naming every setting that cannot be used, and every variable that
    starts with `HEADRACE_` but is none of ours.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field, setting in SETTINGS.items():
        given = options.get(field)
        text = (
            str(given)
            if given is not None
            else environment.get(setting.variable) or setting.default
        )
        try:
            values[field] = setting.parse(text)
        except ValueError as error:
            problems.append(f"{setting.variable}={text!r}: {error}")
    known = {setting.variable for setting in SETTINGS.values()}
    problems += [
        f"{name}: there is no such setting (see `headrace settings`)"
        for name in sorted(environment)
        if name.startswith("HEADRACE_") and name not in known
    ]
    if bool(values.get("tls_certificate")) != bool(values.get("tls_key")):
        problems.append("HEADRACE_TLS_CERTIFICATE and HEADRACE_TLS_KEY are needed together")
    if problems:
        raise BadSettings("cannot start with these settings:\n  " + "\n  ".join(problems))
    return Settings(**values)


def source_of(
    field: str, environment: Mapping[str, str] | None = None, **options: str | Path | None
) -> str:
    """Where a setting's value comes from: `option`, `environment` or `default`."""
    environment = os.environ if environment is None else environment
    if options.get(field) is not None:
        return "option"
    return "environment" if environment.get(SETTINGS[field].variable) else "default"
