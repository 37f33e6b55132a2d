"""Rows of events: who is known, what is linked, what is late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.eventlog.port import Record
from headrace.processor.decode import decode, decode_record
from headrace.processor.identify import identify, identify_event, judge_time, rows_at
from headrace.processor.links import Links
from headrace.processor.marks import find_marked
from headrace.processor.pack import join_for, pack_for
from headrace.processor.ranges import Range, number
from headrace.runtime.clock import ManualClock
from headrace.schemas.outcomes import Code, Rejected
from headrace.schemas.records import MARK_RETRY, EventValue, Header
from headrace.store.memory import MemoryStore
from headrace.store.port import LinkRow, Place

STORE = MemoryStore(ManualClock())
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PLACE = Place("log", 0, 7)
ID = "evt_" + "0" * 26
IDS = st.sampled_from(
    [None, "", "ann", "device", "same", "null", "0", " NaN ", "x10", "'n/a'", "é"]
)
POSITIONS = st.integers(7, 14)
MOMENTS = st.integers(-60, 60).map(lambda hours: NOON + timedelta(hours=hours))
EVENTS = st.builds(
    EventValue,
    event_id=st.just(ID),
    workspace_id=st.sampled_from(["ws_a", "ws_b"]),
    event=st.sampled_from(["click", "view"]),
    timestamp=st.one_of(st.just(NOON), MOMENTS),
    received_at=st.one_of(st.just(NOON), MOMENTS),
    user_id=IDS,
    anonymous_id=IDS,
    properties=st.sampled_from([msgspec.Raw(b"{}"), msgspec.Raw('{"a":"é"}'.encode())]),
)


def make_value(user_id: str | None, anonymous_id: str | None) -> EventValue:
    """An event with these ids."""
    properties = msgspec.Raw(b'{"a":1}')
    return EventValue(ID, "ws", "click", NOON, NOON, user_id, anonymous_id, properties)


def make_range(*values: EventValue | bytes) -> Range:
    """Read, from position 7 on."""
    encoded = [one if isinstance(one, bytes) else msgspec.json.encode(one) for one in values]
    records = [Record(7 + at, b"", value, {}, NOON) for at, value in enumerate(encoded)]
    range_ = Range("log", 0, records)
    decode(range_)
    return range_


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
    row = identify_event(PLACE, make_value(user_id, anonymous_id))
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
    range_ = make_range(make_value(user_id, anonymous_id))
    identify(range_)
    Links().find(range_)
    link = LinkRow("ws", "device", "ann", NOON, ID)
    assert range_.links == ({7: link} if is_linked else {})


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
    row = identify_event(PLACE, make_value("ann", None))
    assert row.place == PLACE
    assert (row.workspace_id, row.event_id, row.event) == ("ws", ID, "click")
    assert (row.timestamp, row.received_at, row.timeliness) == (NOON, NOON, "on_time")
    assert row.properties_raw == b'{"a":1}'


def pack(range_: Range) -> None:
    """The last steps, for a range that is one piece."""
    pack_for(STORE)(range_)
    join_for(STORE)(range_)


@given(st.lists(st.one_of(EVENTS, st.just(b"junk")), min_size=1, max_size=8), st.data())
def test_columns_hold_what_rows_do(events: list[EventValue | bytes], data: st.DataObject) -> None:
    """The block that is packed beforehand and the rows that are made when it cannot be used."""
    range_ = make_range(*events)
    named = [(seen, Rejected(Code.SCHEMA_VIOLATION, "")) for seen in data.draw(st.sets(POSITIONS))]
    range_.rejected |= {seen: why for seen, why in named if seen <= range_.last}
    identify(range_)
    pack(range_)
    good = [record.position for record in range_.records if record.position not in range_.rejected]
    assert range_.packed is not None
    assert range_.packed.content == rows_at(range_, good)
    assert range_.packed.count == len(good)
    assert [bool(event_id) for event_id in range_.event_ids] == [
        isinstance(decode_record(record.value), EventValue) for record in range_.records
    ]


def test_pieces_make_the_whole() -> None:
    """What the steps find and pack in each is joined in order, and nothing else is left of it."""
    values = [make_value("ann", f"device {number % 3}") for number in range(1_200)]
    records = make_range(*values, b"junk").records
    for at in (0, 499, 500, 1_199, 1_200):
        records[at] = msgspec.structs.replace(records[at], headers={Header.MARK: MARK_RETRY})
    in_one, in_parts = Range("log", 0, []), Range("log", 0, [])
    for range_, pieces in (
        (in_one, [Range("log", 0, list(records))]),
        (in_parts, in_parts.pieces(records)),
    ):
        links = Links()
        for piece in pieces:
            for step in (decode, find_marked, identify, links.find, pack_for(STORE)):
                step(piece)
            assert (piece.fields, piece.columns) == (None, None)
            range_.join(piece)
        number(range_)
        join_for(STORE)(range_)
    assert in_parts == in_one
    assert list(in_parts.sizes) == [len(record.value) for record in records]
    assert in_parts.size == sum(in_parts.sizes)
    assert [record for record, _ in in_parts.marked] == [records[at] for at in (0, 499, 500, 1_199)]
    assert in_parts.positions == [record.position for record in records]
    assert in_parts.rejected.keys() == {in_parts.last}
