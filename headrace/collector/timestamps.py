"""When an event happened: ISO 8601 date-times into UTC, or the reason why not.

Owns what is taken: the extended format (`2024-03-15T14:22:00.123+01:00`; seconds, fraction and
offset may be absent, no offset means UTC) and the basic one (`20240315T142200Z`). A fraction of
more than six digits is rounded by its seventh, as the decoder of whole batches does.
`datetime.fromisoformat` alone would cut it, also take `…Z` followed by NUL, and read `14:22.5` as
half a second past; hence the patterns.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.collector.reasons import BadEvent, shown
from headrace.schemas.outcomes import Code
from headrace.schemas.records import END_OF_MOMENTS, FIRST_MOMENT, FIRST_YEAR, LAST_YEAR

_OFFSET: Final = r"(?:Z|z|[+-]\d\d(?::?\d\d)?)?"
_PATTERN: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?" + _OFFSET + "|"
    r"\d{8}T\d{4}(?:\d\d(?:[.,]\d+)?)?" + _OFFSET,
    re.ASCII,
)
_matches: Final = _PATTERN.fullmatch
_parse: Final = datetime.fromisoformat
_rounds_up: Final = re.compile(r"[.,]\d{6}[5-9]", re.ASCII).search
_MICROSECOND: Final = timedelta(microseconds=1)
_DATE_ONLY: Final = re.compile(r"\d{4}-\d\d-\d\d|\d{8}", re.ASCII)
_HOUR_24: Final = re.compile(r"\d{4}-?\d\d-?\d\d[Tt ]24", re.ASCII)
_LEAP_SECOND: Final = re.compile(r"\d{4}-?\d\d-?\d\d[Tt ]\d\d:?\d\d:?60", re.ASCII)


def read_timestamp(text: str) -> datetime | None:
    """The moment in UTC, or None if it is not taken; `explain_timestamp` then says why."""
    # 24:00 is midnight to newer Pythons and an error to older ones; we refuse it everywhere.
    if _matches(text) is None or text[11:13] == "24":
        return None
    try:
        moment = to_utc(_parsed(text))
    except (ValueError, OverflowError):
        return None
    return moment if moment is not None and FIRST_MOMENT <= moment < END_OF_MOMENTS else None


def _parsed(text: str) -> datetime:
    """Raises `ValueError` or, beyond the last year there is, `OverflowError`."""
    moment = _parse(text if text[-1] != "z" else text.upper())
    return moment + _MICROSECOND if _rounds_up(text) else moment


def to_utc(moment: datetime) -> datetime | None:
    """The same moment; no offset means UTC. None where it would leave the years there are."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    except OverflowError:
        return None


def explain_timestamp(text: str, field: str = "timestamp") -> BadEvent:
    """Why `read_timestamp` gave None."""
    code, why = Code.INVALID_TIMESTAMP, "is not an ISO 8601 date-time"
    if _DATE_ONLY.fullmatch(text):
        why = "is a date without a time"
    elif _HOUR_24.match(text):
        why = "has the hour 24; write 00:00:00 of the next day"
    elif _LEAP_SECOND.match(text):
        why = "has a leap second; write second 59"
    elif _matches(text):
        if _is_a_moment(text):
            code = Code.TIMESTAMP_OUT_OF_RANGE
            why = f"is outside the years {FIRST_YEAR} to {LAST_YEAR}"
        else:
            why = "names a day, a time or an offset that does not exist"
    hint = "" if code is Code.TIMESTAMP_OUT_OF_RANGE else "; send, say, 2024-03-15T14:22:00Z"
    return BadEvent(code, field, f"`{field}` {why}: {shown(text)}{hint}")


def _is_a_moment(text: str) -> bool:
    try:
        _parse(text.upper())
    except ValueError:
        return False
    return True
