"""What names, limits, scopes and expiries must look like."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headrace.workspaces.checks import checked_limit, checked_name, checked_scopes, parse_expiry
from headrace.workspaces.errors import NotUsable
from headrace.workspaces.port import Scope

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("name", ["a", "My shop", "Größe 1", "店", "x" * 100, "O'Neil; DROP"])
def test_names_people_give_are_taken(name: str) -> None:
    """Any printable text up to 100 characters."""
    assert checked_name("workspace name", name) == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "workspace name '' has 0 characters; give 1 to 100"),
        ("x" * 101, "has 101 characters"),
        ("a\nb", r"'a\\nb' has characters that do not print"),
        ("a\x00b", "do not print"),
        ("\ud800", "do not print"),
        (" a", "spaces around it"),
    ],
)
def test_names_that_cannot_be_shown_are_refused(name: str, said: str) -> None:
    """The message shows the name and the rule."""
    with pytest.raises(NotUsable, match=said):
        checked_name("workspace name", name)


@pytest.mark.parametrize("limit", [None, 1, 10_000_000])
def test_limits_that_can_be_kept(limit: int | None) -> None:
    """From one request a minute; None is the node's default."""
    assert checked_limit(limit) == limit


@pytest.mark.parametrize("limit", [0, -5, 10_000_001])
def test_limits_that_cannot_be_kept(limit: int) -> None:
    """The message names the number and the range."""
    with pytest.raises(NotUsable, match=f"{limit} requests per minute cannot be kept"):
        checked_limit(limit)


def test_scopes_are_those_there_are() -> None:
    """By name or value; none and unknown ones are refused."""
    assert checked_scopes(["ingest", Scope.ADMIN]) == {Scope.INGEST, Scope.ADMIN}
    with pytest.raises(NotUsable, match="no scope 'write'; give one of ingest, query, admin"):
        checked_scopes(["ingest", "write"])
    with pytest.raises(NotUsable, match="a key needs a scope"):
        checked_scopes([])


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30d", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("12h", datetime(2026, 1, 2, 0, tzinfo=UTC)),
        ("90m", datetime(2026, 1, 1, 13, 30, tzinfo=UTC)),
        ("2w", datetime(2026, 1, 15, 12, tzinfo=UTC)),
        ("2027-01-01", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2027-01-01T08:30", datetime(2027, 1, 1, 8, 30, tzinfo=UTC)),
        ("2027-01-01T08:30:00Z", datetime(2027, 1, 1, 8, 30, tzinfo=UTC)),
        (" 2027-01-01T08:30:00+02:00 ", datetime(2027, 1, 1, 6, 30, tzinfo=UTC)),
    ],
)
def test_an_expiry_is_a_moment_or_an_age(text: str, moment: datetime) -> None:
    """Ages count from now; what has no offset is UTC."""
    assert parse_expiry(text, NOW) == moment


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expiry '' is no date; give 30d, 12h, 2027-01-01 or"),
        ("soon", "expiry 'soon' is no date"),
        ("30", "expiry '30' is no date"),
        ("٣d", "is no date"),
        ("999999w", "expiry '999999w' is no date"),
        ("2027-02-30", "is no date"),
        ("0001-01-01T00:00+23:59", "is no date"),
        ("0d", "expiry '0d' is in the past; give a later one"),
        ("2025-12-31", "is in the past"),
    ],
)
def test_an_expiry_that_makes_no_sense_is_refused(text: str, said: str) -> None:
    """The message shows what was given and what may be."""
    with pytest.raises(NotUsable, match=said):
        parse_expiry(text, NOW)
