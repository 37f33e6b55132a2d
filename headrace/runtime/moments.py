"""Moments in the past as people write them: an age or an ISO date-time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.schemas.errors import HeadraceError

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE: Final = re.compile(r"([0-9]{1,6})([smhdw])")


def parse_since(text: str, now: datetime) -> datetime:
    """The moment that `30m`, `12h` or `7d` ago or an ISO date-time means, in UTC.

    A date is its first moment; a date-time without an offset is UTC.
    """
    try:
        if age := _AGE.fullmatch(text):
            return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        return parse_moment(text)
    except (ValueError, OverflowError) as error:
        raise HeadraceError(
            f"{text!r} is no time: give 30m, 12h, 7d or 2026-01-31T12:00Z"
        ) from error


def parse_moment(text: str) -> datetime:
    """An ISO 8601 date or date-time, in UTC. Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
