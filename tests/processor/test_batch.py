"""The last word on every record: into which block it goes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from headrace.eventlog.port import Record
from headrace.processor.batch import Suspects, make_blocks
from headrace.processor.decode import decode
from headrace.processor.identify import identify
from headrace.processor.pack import pack_for
from headrace.processor.ranges import Range
from headrace.processor.validate import validate_against
from headrace.schemas.outcomes import Code, Rejected
from headrace.schemas.records import MARK_REPLAY, MARK_RETRY, EventValue, Header
from headrace.store.port import Place
from tests.processor.trial import NORMAL, Trial, event_id

TRIAL = Trial()
GOOD = TRIAL.make_event()
BAD = TRIAL.purchase(20)
KEYED = TRIAL.make_request(1, 1)[0]
ELSEWHERE = Place("other log", 3, 77)


def make_range(values: Sequence[EventValue | bytes], marks: Sequence[bytes] = ()) -> Range:
    """A range from position 1 on that went through the pure steps; `marks` are its first ones'."""
    encoded = [one if isinstance(one, bytes) else msgspec.json.encode(one) for one in values]
    now = TRIAL.clock.now()
    headers = [{Header.MARK: mark} if mark else {} for mark in marks]
    headers += [{}] * (len(encoded) - len(headers))
    records = [Record(1 + i, b"", value, headers[i], now) for i, value in enumerate(encoded)]
    range_ = Range("log", 0, records)
    for step in (decode, validate_against(NORMAL), identify, pack_for(TRIAL.store)):
        step(range_)
    return range_


@pytest.mark.parametrize(
    ("held", "events", "rejected", "duplicates"),
    [
        (set(), [1, 3], [2, 5], [4]),
        ({1}, [3], [2, 5], [4]),
        ({2, 5}, [1, 3], [], [4]),
        ({4}, [1, 3], [2, 5], []),
        ({1, 2, 3, 4, 5}, [], [], []),
    ],
)
def test_every_record_that_is_not_held_is_in_one_block(
    held: set[int], events: list[int], rejected: list[int], duplicates: list[int]
) -> None:
    """Stored, rejected or a duplicate; what is held already is in none."""
    range_ = make_range([GOOD, BAD, KEYED, KEYED, b"junk"])
    blocks = make_blocks(range_, held, Suspects())
    found = [
        blocks.events,
        [row.place.position for row in blocks.rejected],
        [row.place.position for row in blocks.duplicates],
    ]
    assert found == [events, rejected, duplicates]


def test_an_id_held_elsewhere_is_a_duplicate_and_says_of_what() -> None:
    """An id held at the record's own place is not: that is the record itself."""
    name = (KEYED.workspace_id, KEYED.event_id)
    range_ = make_range([GOOD, KEYED])
    own = make_blocks(range_, set(), Suspects(stored={name: [Place("log", 0, 2)]}))
    assert (len(own.events), own.duplicates) == (2, [])
    other = make_blocks(range_, set(), Suspects(stored={name: [Place("log", 0, 2), ELSEWHERE]}))
    assert [(row.place.position, row.kept) for row in other.duplicates] == [(2, ELSEWHERE)]
    assert other.duplicates[0].request == event_id(0, request=1)[:28]


RETRIED = TRIAL.purchase(20, event_id=event_id(0, request=2))
NAME = (RETRIED.workspace_id, RETRIED.event_id)


@pytest.mark.parametrize(
    ("marks", "suspects", "rejected", "duplicates"),
    [
        # A retry adds no row, whatever became of the first try.
        ([b"", MARK_RETRY], Suspects(), [1], {2: Place("log", 0, 1)}),
        ([MARK_RETRY], Suspects(rejected={NAME: [ELSEWHERE]}), [], {1: ELSEWHERE}),
        ([MARK_RETRY], Suspects(stored={NAME: [ELSEWHERE]}), [], {1: ELSEWHERE}),
        ([b""], Suspects(rejected={NAME: [ELSEWHERE]}), [], {1: ELSEWHERE}),
        ([MARK_RETRY], Suspects(rejected={NAME: [Place("log", 0, 1)]}), [1], {}),
        # A replay is judged anew, and told of its own.
        ([b"", MARK_REPLAY], Suspects(), [1, 2], {}),
        ([MARK_REPLAY], Suspects(rejected={NAME: [ELSEWHERE]}), [1], {}),
        ([MARK_REPLAY, MARK_RETRY], Suspects(), [1], {2: Place("log", 0, 1)}),
    ],
)
def test_a_rejected_event_that_comes_again(
    marks: list[bytes], suspects: Suspects, rejected: list[int], duplicates: dict[int, Place]
) -> None:
    """By its mark: a retry is a duplicate, a replay is rejected once more."""
    blocks = make_blocks(make_range([RETRIED] * len(marks), marks), set(), suspects)
    assert [row.place.position for row in blocks.rejected] == rejected
    assert {row.place.position: row.kept for row in blocks.duplicates} == duplicates


def test_a_replay_that_passes_now_is_stored_beside_its_reject() -> None:
    """In one range, too: the first is found by a poisoned block, say."""
    range_ = make_range([KEYED, KEYED, KEYED], [b"", MARK_REPLAY, MARK_REPLAY])
    range_.rejected[1] = Rejected(Code.REFUSED_BY_STORE, "")
    blocks = make_blocks(range_, set(), Suspects())
    assert blocks.events == [2]
    assert [row.place.position for row in blocks.rejected] == [1]
    assert [(row.place.position, row.kept.position) for row in blocks.duplicates] == [(3, 2)]


def test_without_suspects_equal_ids_are_not_looked_for() -> None:
    """They cannot be equal then, and looking costs."""
    assert len(make_blocks(make_range([KEYED, KEYED]), set(), None).events) == 2


def test_a_rejected_row_has_the_events_columns_the_reason_and_the_record() -> None:
    """Everything a person or a replay needs."""
    row = make_blocks(make_range([BAD]), set(), None).rejected[0]
    assert (row.event_id, row.event, row.anonymous_id) == (
        BAD.event_id,
        "purchase",
        BAD.anonymous_id,
    )
    assert (row.timestamp, row.received_at) == (BAD.timestamp, BAD.received_at)
    assert (row.code, row.path, row.schema) == (
        "schema_violation",
        "$.properties.price",
        "purchase/1",
    )
    assert (row.properties_raw, row.raw) == (b'{"price":20}', msgspec.json.encode(BAD))
