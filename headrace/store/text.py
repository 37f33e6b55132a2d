"""Values as text of ClickHouse's SQL."""

from __future__ import annotations

from datetime import UTC, datetime


def quote(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_name(name: str) -> str:
    """An identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def moment(time: datetime) -> str:
    """A time, to the microsecond."""
    return f"toDateTime64({quote(f'{time.astimezone(UTC):%F %T.%f}')}, 6, 'UTC')"
