"""Rows that the store refuses: found, told why, and nobody else is kept waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from headrace.processor.failpoints import Point
from headrace.processor.poison import find_poison
from headrace.runtime.clock import ManualClock
from headrace.schemas.errors import Refused, Unavailable
from headrace.schemas.outcomes import Rejected
from headrace.store.memory import MemoryStore
from headrace.store.port import EventRow
from tests.processor.trial import POISON, Trial

PLACES: dict[str, Callable[[int, int], bool]] = {
    "none": lambda index, count: False,
    "first": lambda index, count: index == 0,
    "middle": lambda index, count: index == count // 2,
    "last": lambda index, count: index == count - 1,
    "ends": lambda index, count: index in (0, count - 1),
    "every second": lambda index, count: index % 2 == 1,
    "all but one": lambda index, count: index != count // 3,
    "all": lambda index, count: True,
}
every_place = pytest.mark.parametrize("is_poison", PLACES.values(), ids=PLACES)


@every_place
@pytest.mark.parametrize("count", [1, 2, 3, 17, 64])
@pytest.mark.parametrize("rows", [5, 100])
async def test_poison_in_every_place_and_number(
    rows: int, count: int, is_poison: Callable[[int, int], bool]
) -> None:
    """Exactly the bad rows are rejected, with the store's reason; the others are stored."""
    trial = Trial(rows=rows)
    bad = [is_poison(index, count) for index in range(count)]
    await trial.append(
        *(trial.make_event(properties=POISON if poison else b"{}") for poison in bad)
    )
    await trial.settle()
    trial.check()
    rejected = {row.place.position: row for row in trial.store.rejected}
    assert [position in rejected for position in range(1, count + 1)] == bad
    for row in rejected.values():
        assert (row.code, row.path) == ("refused_by_store", "$.properties")
        assert row.event_id in row.reason
        assert row.properties_raw == POISON


@pytest.mark.parametrize("properties", [b'{"a":1e999}', b'{"a":"\xff"}'])
async def test_thousands_of_known_breakers_cost_a_few_questions(properties: bytes) -> None:
    """One row of the kind is shown to the store; its neighbours are not asked about."""
    store = MemoryStore(ManualClock(), refuses=lambda row: row.properties_raw == properties)
    rows = await make_rows([properties, b"{}"] * 2_000)
    found: dict[int, Rejected] = {}
    assert await find_poison(store, rows, found, proceed=lambda: None) == 2_000
    assert store.calls.count("check_events") == 2
    assert not any(row.event_id in found[1].reason for row in rows)


async def test_what_orjson_refuses_and_the_store_takes_is_stored() -> None:
    """The cheap pass only suspects; the store decides."""
    trial = Trial()
    await trial.append(
        trial.make_event(properties=b'{"a":1e999}'), trial.make_event(properties=POISON)
    )
    await trial.settle()
    trial.check()
    assert [row.properties_raw for row in trial.store.events] == [b'{"a":1e999}']


async def test_splitting_needs_few_questions_for_one_bad_row() -> None:
    """Two for each halving."""
    store = MemoryStore(ManualClock(), refuses=lambda row: row.properties_raw == POISON)
    rows = await make_rows([b"{}"] * 1_023 + [POISON])
    await find_poison(store, rows, {}, proceed=lambda: None)
    assert store.calls.count("check_events") <= 21


async def test_a_search_that_broke_off_goes_on_where_it_was() -> None:
    """What was found stays found, so that a store that comes and goes does not undo it."""
    store = MemoryStore(ManualClock(), refuses=lambda row: row.properties_raw == POISON)
    rows = await make_rows([POISON] * 8)
    found: dict[int, Rejected] = {}
    questions = 0

    def proceed() -> None:
        nonlocal questions
        questions += 1
        if questions == 9:
            raise Unavailable("gone")

    with pytest.raises(Unavailable):
        await find_poison(store, rows, found, proceed=proceed)
    assert 0 < len(found) < 8


async def test_a_block_whose_rows_all_pass_is_tried_again() -> None:
    """The store refuses the block for a reason of its own: nothing is rejected for it."""
    trial = Trial()
    await trial.append(trial.make_event(), trial.make_event())
    trial.store.fail("insert_events", error=Refused("not this block", code=1), times=3)
    await trial.settle()
    trial.check()
    assert len(trial.store.events) == 2
    assert trial.store.rejected == []


@every_place
async def test_a_crash_right_after_poison_was_found(
    is_poison: Callable[[int, int], bool],
) -> None:
    """The next owner finds it again."""
    trial = Trial()
    events = [POISON if is_poison(index, 6) else b"{}" for index in range(6)]
    await trial.append(*(trial.make_event(properties=one) for one in events))
    await trial.run_until_crash(at=Point.POISON_FOUND)
    await trial.settle()
    trial.check()
    assert len(trial.store.rejected) == events.count(POISON)


async def make_rows(properties: Sequence[bytes]) -> list[EventRow]:
    """Rows as the processor makes them."""
    trial = Trial(rows=100_000)
    trial.store.refuses = lambda row: False
    await trial.append(*(trial.make_event(properties=one) for one in properties))
    await trial.settle()
    return trial.store.events
