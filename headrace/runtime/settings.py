"""Every setting as a running process has it, read once.

The only place that reads `os.environ`. Which settings there are is `setting_table.py`'s;
`headrace check` prints them without secrets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from headrace.runtime.setting_table import SETTINGS
from headrace.runtime.setting_text import Address, ClickHouseUrl
from headrace.schemas.errors import HeadraceError

_FILES: Final = (
    "tls_certificate",
    "tls_key",
    "kafka_tls_ca",
    "kafka_tls_certificate",
    "kafka_tls_key",
)


class BadSettings(HeadraceError):
    """One or more settings cannot be used; the message names them all."""


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
    kafka: tuple[Address, ...]
    kafka_topic: str
    kafka_group: str
    kafka_partitions: int
    kafka_replication: int | None
    kafka_retention_hours: int
    kafka_max_message_bytes: int
    kafka_compression: str
    kafka_security: str
    kafka_sasl_mechanism: str
    kafka_username: str
    kafka_password: str
    kafka_tls_ca: Path | None
    kafka_tls_certificate: Path | None
    kafka_tls_key: Path | None
    clickhouse: ClickHouseUrl | None
    clickhouse_cluster: str
    redis: str
    database: str
    log_max_bytes: int
    flush_rows: int
    flush_bytes: int
    flush_seconds: float | None
    breaker_share: float
    breaker_records: int
    schemas: Path | None
    store_max_bytes: int | None
    store_max_queries: int
    store_query_seconds: float
    store_query_bytes: int
    log_format: str
    log_level: str
    clock_offset_seconds: float
    traces: str
    fail_point: str

    @property
    def has_local_log(self) -> bool:
        """The log is a file in HOME, written by one collector and read by one processor."""
        return not self.kafka

    @property
    def has_embedded_store(self) -> bool:
        """The tables are in HOME, behind `headrace store`."""
        return self.clickhouse is None

    @property
    def has_local_control(self) -> bool:
        """Control data is a file in HOME."""
        return not self.database


def read_pager(environment: Mapping[str, str] | None = None) -> str | None:
    """`$PAGER`: what the person at the terminal reads long texts with; None if it is not set."""
    return (os.environ if environment is None else environment).get("PAGER")


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
            shown = hide_password(text) if setting.is_secret else text
            problems.append(f"{setting.variable}={shown!r}: {error}")
    known = {setting.variable for setting in SETTINGS.values()}
    problems += [
        f"{name}: there is no such setting (see `headrace settings`)"
        for name in sorted(environment)
        if name.startswith("HEADRACE_") and name not in known
    ]
    problems += _together(values)
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


def shown(field: str, settings: Settings) -> str:
    """A setting's value as people may see it: without secrets."""
    value = getattr(settings, field)
    if isinstance(value, ClickHouseUrl):
        scheme, _, where = value.url.partition("://")
        return f"{scheme}://{value.user}:***@{where}/{value.database}"
    if value is None or value == "":
        return ""
    if SETTINGS[field].is_secret:
        return hide_password(str(value))
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def hide_password(text: str) -> str:
    """A URL without its password, and nothing of what is no URL.

    A password with a `/`, `?` or `#` that is not escaped ends the host early: then nothing but
    the scheme is shown.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return "***"
    if not parts.scheme or not parts.netloc:
        return "***" if text else ""
    if text.count("@") > parts.netloc.count("@"):
        return f"{parts.scheme}://***"
    where = parts.netloc.rpartition("@")[2]
    who = f"{parts.username or ''}:***@" if parts.password else parts.netloc[: -len(where)]
    return urlunsplit(parts._replace(netloc=who + where, query="", fragment=""))


def _together(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with settings that need one another."""
    problems = [
        f"{SETTINGS[one].variable} and {SETTINGS[other].variable} are needed together"
        for one, other in (
            ("tls_certificate", "tls_key"),
            ("kafka_tls_certificate", "kafka_tls_key"),
            ("kafka_username", "kafka_password"),
        )
        if bool(values.get(one)) != bool(values.get(other))
    ]
    problems += [
        f"{SETTINGS[field].variable}={str(values[field])!r}: there is no such file"
        for field in _FILES
        if values.get(field) is not None and not values[field].is_file()
    ]
    if values.get("kafka_security", "").startswith("sasl") and not values.get("kafka_username"):
        problems.append("HEADRACE_KAFKA_SECURITY with SASL needs HEADRACE_KAFKA_USERNAME")
    if values.get("clickhouse_cluster") and not values.get("clickhouse"):
        problems.append("HEADRACE_CLICKHOUSE_CLUSTER needs HEADRACE_CLICKHOUSE")
    return problems
