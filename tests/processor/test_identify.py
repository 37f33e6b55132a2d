"""Rows of events: who is known, what is linked, what is late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from headrace.processor.identify import identify_event, judge_time
from headrace.processor.links import find_link
from headrace.schemas.records import EventValue
from headrace.store.port import EventRow, LinkRow, Place

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLACE = Place("log", 0, 7)


def make_row(user_id: str | None, anonymous_id: str | None) -> EventRow:
    """The row of an event with these ids."""
    properties = msgspec.Raw(b'{"a":1}')
    value = EventValue("evt_1", "ws", "click", NOON, NOON, user_id, anonymous_id, properties)
    return identify_event(PLACE, value)


@pytest.mark.parametrize(
    ("user_id", "anonymous_id", "user_known", "anonymous_known"),
    [
        ("ann", "device", True, True),
        ("ann", None, True, False),
        (None, "device", False, True),
        ("null", "device", False, True),
        (" Anonymous ", "0", False, False),
        ("ann", "00000000-0000-0000-0000-000000000000", True, False),
        ("", "", False, False),
    ],
)
def test_ids_that_stand_for_nobody_are_not_known(
    user_id: str | None, anonymous_id: str | None, user_known: bool, anonymous_known: bool
) -> None:
    """They stay in the row as they came, and count as absent."""
    row = make_row(user_id, anonymous_id)
    assert (row.user_id, row.anonymous_id) == (user_id or "", anonymous_id or "")
    assert (row.user_known, row.anonymous_known) == (user_known, anonymous_known)


@pytest.mark.parametrize(
    ("user_id", "anonymous_id", "is_linked"),
    [
        ("ann", "device", True),
        ("ann", None, False),
        (None, "device", False),
        ("undefined", "device", False),
        ("ann", "undefined", False),
        ("same", "same", False),
    ],
)
def test_an_event_that_names_two_known_ids_links_them(
    user_id: str | None, anonymous_id: str | None, is_linked: bool
) -> None:
    """Placeholders would join strangers; an id linked to itself would keep real links out."""
    link = find_link(make_row(user_id, anonymous_id))
    assert link == (LinkRow("ws", "device", "ann", NOON, "evt_1") if is_linked else None)


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        (timedelta(), "on_time"),
        (timedelta(hours=-24), "on_time"),
        (timedelta(hours=-24, microseconds=-1), "late"),
        (timedelta(days=-9000), "late"),
        (timedelta(hours=1), "on_time"),
        (timedelta(hours=1, microseconds=1), "future"),
        (timedelta(days=9000), "future"),
    ],
)
def test_times_far_from_receipt_are_flagged(ahead: timedelta, expected: str) -> None:
    """Over a day before it is late, over an hour after it is in the future."""
    assert judge_time(NOON + ahead, NOON) == expected


def test_a_row_has_everything_of_its_event() -> None:
    """The place, the names, the times and the client's bytes."""
    row = make_row("ann", None)
    assert row.place == PLACE
    assert (row.workspace_id, row.event_id, row.event) == ("ws", "evt_1", "click")
    assert (row.timestamp, row.received_at, row.timeliness) == (NOON, NOON, "on_time")
    assert row.properties_raw == b'{"a":1}'
