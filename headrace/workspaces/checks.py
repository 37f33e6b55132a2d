"""What names, limits, scopes and expiries must look like. Pure; `now` is an argument."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final

from headrace.workspaces.errors import NotUsable
from headrace.workspaces.port import Scope

MAX_NAME_CHARACTERS: Final = 100
MAX_REQUESTS_PER_MINUTE: Final = 10_000_000
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE: Final = re.compile(r"([0-9]{1,6})([mhdw])")


def checked_name(what: str, text: str) -> str:
    """`text` if it is 1 to 100 printable characters without spaces around it."""
    if not 1 <= len(text) <= MAX_NAME_CHARACTERS:
        raise NotUsable(
            f"{what} {_short(text)} has {len(text)} characters; give 1 to {MAX_NAME_CHARACTERS}."
        )
    if not text.isprintable() or text != text.strip():
        raise NotUsable(
            f"{what} {_short(text)} has characters that do not print, or spaces around it; "
            "leave them out."
        )
    return text


def checked_limit(requests_per_minute: int | None) -> int | None:
    """A rate limit that can be kept; None means the node's default."""
    if requests_per_minute is None or 1 <= requests_per_minute <= MAX_REQUESTS_PER_MINUTE:
        return requests_per_minute
    raise NotUsable(
        f"{requests_per_minute} requests per minute cannot be kept; "
        f"give a number from 1 to {MAX_REQUESTS_PER_MINUTE}."
    )


def checked_scopes(scopes: Collection[Scope | str]) -> frozenset[Scope]:
    """At least one scope, each of those there are."""
    if not scopes:
        raise NotUsable("a key needs a scope; give one of " + ", ".join(Scope) + ".")
    unknown = [scope for scope in scopes if scope not in set(Scope)]
    if unknown:
        raise NotUsable(f"there is no scope {unknown[0]!r}; give one of {', '.join(Scope)}.")
    return frozenset(Scope(scope) for scope in scopes)


def parse_expiry(text: str, now: datetime) -> datetime:
    """The moment that `30d`, `12h`, `2027-01-01` or an ISO date-time means, in UTC.

    A date is its first moment; a date-time without an offset is UTC. Raises `NotUsable` for
    anything else, and for a moment that is not after `now`.
    """
    try:
        moment = _moment(text.strip(), now)
    except (ValueError, OverflowError) as error:
        raise NotUsable(
            f"expiry {_short(text)} is no date; give 30d, 12h, 2027-01-01 or 2027-01-01T12:00Z."
        ) from error
    if moment <= now:
        raise NotUsable(f"expiry {_short(text)} is in the past; give a later one.")
    return moment


def _moment(text: str, now: datetime) -> datetime:
    if age := _AGE.fullmatch(text):
        return now + timedelta(**{_UNITS[age[2]]: int(age[1])})
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
