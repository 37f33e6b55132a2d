"""Whatever dies, freezes, is lost or comes late between any two steps: every record ends once.

The stories run on the shipped fakes of log and store; `tests/processor/trial.py` has the events,
the crashes and the ledger that every test ends with.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Final

import pytest

from headrace.eventlog.port import Committed
from headrace.processor.failpoints import Point
from headrace.processor.ranges import Flush
from headrace.schemas.errors import Overloaded, Unavailable
from headrace.schemas.taxonomy import Taxonomy
from tests.processor.trial import (
    LOOSE,
    NORMAL,
    STRICT,
    Crash,
    Freeze,
    Trial,
    finish,
    quiet,
    until,
)

__all__ = ["quiet"]

SCHEMAS: Final = {"same": NORMAL, "stricter": STRICT, "looser": LOOSE}
ROWS: Final = (3, 6, 100)
"""Ranges that cut through requests, that hold one or two, and one that holds everything."""
METHODS: Final = (
    "held_positions",
    "highest_position",
    "find_requests",
    "remember_requests",
    "remembered_requests",
    "insert_events",
    "insert_rejected",
    "insert_duplicates",
    "insert_links",
    "refresh_identities",
    "check_events",
)

every_point = pytest.mark.parametrize("point", Point)
every_schema = pytest.mark.parametrize("schemas", SCHEMAS.values(), ids=SCHEMAS)
every_loss = pytest.mark.parametrize("loss", ["kept", "stale", "lost"])
every_window = pytest.mark.parametrize("window", [1_000_000, 1, 0])


def lose_commits(trial: Trial, loss: str) -> None:
    """Forget what was committed, or go back to where the log began."""
    if loss == "lost":
        trial.log.forget_commits()
    elif loss == "stale":
        trial.log.partitions[0].committed = Committed(1)


@every_window
@every_loss
@every_schema
@every_point
async def test_a_crash_between_any_two_steps(
    point: Point, schemas: Taxonomy, loss: str, window: int
) -> None:
    """A new owner settles what the dead one left, under whatever schemas, commits and window."""
    for rows, nth in itertools.product(ROWS, (1, 2)):
        trial = Trial(rows=rows, window=window)
        await trial.append_one_of_each()
        await trial.run_until_crash(at=point, nth=nth)
        lose_commits(trial, loss)
        await trial.settle(schemas)
        trial.check()


@pytest.mark.parametrize("second", Point)
@every_point
async def test_a_crash_while_a_crash_is_mended(point: Point, second: Point) -> None:
    """The owner that repeats a range may die in it too, and the schema change both times."""
    for rows, schemas, loss in itertools.product(ROWS, SCHEMAS.values(), ("kept", "lost")):
        trial = Trial(rows=rows)
        await trial.append_one_of_each()
        await trial.run_until_crash(at=point)
        lose_commits(trial, loss)
        await trial.run_until_crash(schemas, at=second)
        await trial.settle(NORMAL)
        trial.check()


async def test_every_fail_point_is_passed() -> None:
    """The story that the crashes cut through leads by every step there is."""
    trial = Trial()
    await trial.append_one_of_each()
    await trial.run_until_crash(at=Point.REMEMBERED)
    passed = set()

    async def note(point: Point) -> None:
        passed.add(point)

    await trial.settle(fail_point=note)
    assert passed == set(Point)


@pytest.mark.parametrize("wake_at", [None, *Point])
@every_point
async def test_a_frozen_owner_wakes_while_or_after_it_was_replaced(
    point: Point, wake_at: Point | None
) -> None:
    """What it still writes is dropped, and its commit is fenced."""
    for rows in ROWS:
        trial = Trial(rows=rows)
        await trial.append_one_of_each()
        await replace_frozen(trial, NORMAL, point, wake_at, away_seconds=0)
        trial.check()


@pytest.mark.parametrize("wake_at", [None, *Point])
@every_schema
@every_point
async def test_a_frozen_owner_wakes_after_its_schemas_changed(
    point: Point, schemas: Taxonomy, wake_at: Point | None
) -> None:
    """Away for seconds, it asks whether the partition is still its own before it writes on."""
    for rows in ROWS:
        trial = Trial(rows=rows)
        await trial.append_one_of_each()
        await replace_frozen(trial, schemas, point, wake_at, away_seconds=2)
        trial.check()


async def replace_frozen(
    trial: Trial, schemas: Taxonomy, point: Point, wake_at: Point | None, *, away_seconds: float
) -> None:
    """Freeze an owner, let another one settle everything, wake the first one meanwhile."""
    frozen, watched = Freeze(point), Freeze(wake_at)
    old, new = trial.processor(NORMAL, frozen), trial.processor(schemas, watched)
    old_run = asyncio.create_task(old.run())
    await until(lambda: frozen.reached.is_set() or trial.is_settled())
    new_run = asyncio.create_task(new.run())
    await until(lambda: watched.reached.is_set() or trial.is_settled())
    trial.clock.advance(away_seconds)
    frozen.thawed.set()
    for _ in range(300):
        await asyncio.sleep(0)
    watched.thawed.set()
    await until(trial.is_settled)
    await finish(new_run, new)
    await finish(old_run, old)


@pytest.mark.parametrize("lands_at", [None, *Point])
@every_schema
async def test_a_late_block_of_events_lands_at_any_moment(
    schemas: Taxonomy, lands_at: Point | None
) -> None:
    """Its sender died; the new owner's try and the late one store each record once."""
    for rows in ROWS:
        await land_late(Trial(rows=rows), "events", schemas, lands_at)


@pytest.mark.parametrize("lands_at", [None, *Point])
@pytest.mark.parametrize("table", ["rejected", "duplicates"])
async def test_a_late_block_of_other_rows_lands_at_any_moment(
    table: str, lands_at: Point | None
) -> None:
    """The same rows under the same token are dropped, whoever comes second."""
    for rows in ROWS:
        await land_late(Trial(rows=rows), table, NORMAL, lands_at)


@every_schema
@pytest.mark.parametrize("rows", [1, 2, 5, 100])
async def test_a_new_owner_that_would_cut_ranges_otherwise(schemas: Taxonomy, rows: int) -> None:
    """It repeats exactly the announced range, so that a late block of it is recognised."""
    for lands_at in (None, *Point):
        await land_late(Trial(rows=4), "events", schemas, lands_at, then_rows=rows)


async def land_late(
    trial: Trial,
    table: str,
    schemas: Taxonomy,
    lands_at: Point | None,
    *,
    then_rows: int | None = None,
) -> None:
    """Let a block arrive when the next owner passes `lands_at`, or after it is done."""
    await trial.append_one_of_each()
    trial.store.late = table
    with pytest.raises(Crash):
        await trial.settle()
    land = trial.store.land
    assert land is not None

    async def fail_point(point: Point) -> None:
        nonlocal land
        if point is lands_at and land is not None:
            landing, land = land, None
            await landing()

    if then_rows is not None:
        trial.flush = Flush(rows=then_rows, seconds=0.0, poll_seconds=0.001)
    await trial.settle(schemas, fail_point)
    if land is not None:
        await land()
    trial.check()


@every_window
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", METHODS)
async def test_a_store_that_fails_anywhere(method: str, when: str, window: int) -> None:
    """Done or not done and answered with an error: every call is repeated without doubling."""
    for rows, times in itertools.product(ROWS, (1, 3)):
        trial = Trial(rows=rows, window=window)
        await trial.append_one_of_each()
        await trial.run_until_crash(at=Point.ANNOUNCED, nth=2)
        trial.store.fail(method, "before" if when == "before" else "after", times=times)
        await trial.settle()
        trial.check()


@pytest.mark.parametrize("error", [Unavailable("away"), Overloaded("full", retry_after=0.001)])
async def test_a_store_that_is_away_longer_than_its_windows(error: Exception) -> None:
    """An insert is done but not answered, hours pass, others fill the window: nothing doubles."""
    trial = Trial(window=1)
    await trial.append_one_of_each()
    assert isinstance(error, Unavailable | Overloaded)
    trial.store.fail("insert_events", "after", error=error)
    freeze = Freeze(Point.REMEMBERED)
    processor = trial.processor(fail_point=freeze)
    run = asyncio.create_task(processor.run())
    await until(freeze.reached.is_set)
    freeze.thawed.set()
    await until(lambda: len(trial.store.events) > 0)
    trial.store.is_down = True
    trial.clock.advance(3 * 3600)
    for _ in range(50):
        await asyncio.sleep(0)
    trial.store.is_down = False
    await until(trial.is_settled)
    await finish(run, processor)
    trial.check()


async def test_whoever_was_away_for_a_minute_looks_again() -> None:
    """A process that slept between announcing and writing asks what is held before it writes."""
    trial = Trial(rows=100)
    await trial.append_one_of_each()
    freeze = Freeze(Point.REMEMBERED)
    processor = trial.processor(fail_point=freeze)
    run = asyncio.create_task(processor.run())
    await until(freeze.reached.is_set)
    assert "held_positions" not in trial.store.calls
    trial.clock.advance(61)
    freeze.thawed.set()
    await until(trial.is_settled)
    await finish(run, processor)
    calls = trial.store.calls
    assert calls.index("held_positions") < calls.index("insert_events")
    trial.check()


@every_loss
async def test_a_log_that_was_drained_and_continued(loss: str) -> None:
    """Retention emptied the log; positions go on, and so does the processor."""
    trial = Trial()
    await trial.append_one_of_each()
    await trial.settle()
    trial.log.drop_settled()
    if loss == "lost":
        trial.log.forget_commits()
    await trial.append(trial.make_event(), trial.purchase(20))
    await trial.settle()
    trial.check()


async def test_a_new_log_starts_anew() -> None:
    """Positions of another log are other places, however equal their numbers."""
    trial = Trial()
    await trial.append_one_of_each()
    await trial.settle()
    trial.log.replace()
    await trial.append(trial.make_event())
    await trial.settle()
    trial.check()


async def test_an_untroubled_range_asks_the_store_nothing() -> None:
    """Without doubt and without marks the store is only written to; links are loaded beside."""
    trial = Trial()
    await trial.append(trial.make_event(), trial.make_event(user_id="u", anonymous_id="d"))
    await trial.settle()
    beside = "refresh_identities"
    assert [call for call in trial.store.calls if call != beside] == [
        "highest_position",
        "remembered_requests",
        "insert_events",
        "insert_links",
    ]
    assert trial.store.calls[-1] == beside
