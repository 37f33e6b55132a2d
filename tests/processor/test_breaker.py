"""The breaker: a mistake of ours stops the processor, somebody else's does not."""

from __future__ import annotations

import asyncio

import pytest
import structlog
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from headrace.processor.breaker import Breaker, Tripped
from headrace.processor.failpoints import Point
from headrace.processor.identify import identify_event
from headrace.schemas.outcomes import Code, Rejected
from headrace.schemas.records import MARK_REPLAY, MARK_RETRY
from headrace.schemas.taxonomy import Taxonomy
from headrace.store.port import EventRow, Place
from tests.processor.trial import (
    LOOSE,
    NORMAL,
    POISON,
    STRICT,
    Freeze,
    Trial,
    finish,
    until,
)

GOOD, BAD = 2, 8
"""Prices: under STRICT, the schema of a bad deploy, the second is refused."""


def make_trial(*, share: float = 0.5, records: int = 10, rows: int = 1_000) -> Trial:
    trial = Trial(rows=rows)
    start_again(trial, share=share, records=records)
    return trial


def start_again(trial: Trial, *, share: float = 0.5, records: int = 10) -> None:
    """What a new process knows: nothing."""
    trial.breaker = Breaker(trial.store, share, records, second_look_seconds=0.0)


async def send(
    trial: Trial, price: float, count: int, workspace: str = "ws", mark: bytes | None = None
) -> None:
    events = [trial.purchase(price, workspace_id=workspace) for _ in range(count)]
    await trial.append(*events, mark=mark)


async def pass_day(trial: Trial, good: int, bad: int, schemas: Taxonomy = STRICT) -> None:
    """A day of such traffic, that ended two hours ago."""
    await send(trial, GOOD, good)
    await send(trial, BAD, bad)
    breaker, trial.breaker = trial.breaker, None
    await trial.settle(schemas)
    trial.breaker = breaker
    trial.clock.advance(2 * 3600)


async def test_a_bad_schema_stops_the_processor_before_anything_is_rejected() -> None:
    """Loudly, and the records wait in the log for the schema to be mended."""
    trial = make_trial()
    await pass_day(trial, 1_000, 0)
    await send(trial, BAD, 20)
    structlog.configure(wrapper_class=structlog.BoundLogger)  # `quiet` puts it back
    with capture_logs() as lines, pytest.raises(Tripped) as caught:
        await trial.settle(STRICT)
    message = str(caught.value)
    assert "100% of the 20 records received in the minute from 2026-01-01T02:00Z" in message
    assert "(schema_violation purchase/1 $.properties.price)" in message
    assert "of the day before it were 0.0%" in message
    assert "HEADRACE_BREAKER_SHARE=1" in message
    assert [line["log_level"] for line in lines if "breaker" in line["event"]] == ["error"]
    assert REGISTRY.get_sample_value("headrace_breaker_tripped") == 1
    assert REGISTRY.get_sample_value("headrace_breaker_share") == 1
    assert trial.store.rejected == []
    start_again(trial)
    await trial.settle(NORMAL)
    trial.check()
    assert len(trial.store.events) == 1_020


@pytest.mark.parametrize("later_seconds", [0, 30, 3600, 48 * 3600])
async def test_a_restart_stops_at_the_same_range(later_seconds: float) -> None:
    """At once or days later, and whatever arrived since: not one more record is rejected."""
    trial = make_trial(rows=6)
    await send(trial, BAD, 6)
    await trial.settle(STRICT)
    rejected = len(trial.store.rejected)
    assert rejected == 6
    for _ in range(3):
        await send(trial, BAD, 6)
        start_again(trial)
        with pytest.raises(Tripped):
            await trial.settle(STRICT)
        trial.clock.advance(later_seconds)
    assert len(trial.store.rejected) == rejected
    start_again(trial)
    await trial.settle(LOOSE)
    trial.check()


async def test_whoever_takes_over_stops_as_well() -> None:
    """The partition moves to the next process, and that one finds the same."""
    trial = make_trial()
    await send(trial, BAD, 20)
    for _ in range(3):
        with pytest.raises(Tripped):
            await trial.settle(STRICT)
    assert trial.store.rejected == []


async def test_a_person_may_let_it_go_on() -> None:
    """With a share of 1 it never stops, and soon the reason is nothing new any more."""
    trial = make_trial()
    await send(trial, BAD, 20)
    with pytest.raises(Tripped):
        await trial.settle(STRICT)
    start_again(trial, share=1)
    await trial.settle(STRICT)
    assert len(trial.store.rejected) == 20
    trial.clock.advance(3 * 3600)
    await send(trial, BAD, 20)
    start_again(trial)
    await trial.settle(STRICT)
    trial.check()


async def test_few_records_stop_nobody() -> None:
    """Fewer than asked for in a minute, however bad; minutes do not add up, nor does a backlog."""
    trial = make_trial(records=10)
    for _ in range(9):
        await send(trial, BAD, 9)
        trial.clock.advance(60)
    await trial.settle(STRICT)
    trial.check()
    assert len(trial.store.rejected) == 81


async def test_a_bad_minute_of_a_backlog_is_found() -> None:
    """The range spans many minutes, and as a whole it is harmless."""
    trial = make_trial()
    await send(trial, GOOD, 100)
    trial.clock.advance(60)
    await send(trial, BAD, 20)
    trial.clock.advance(60)
    await send(trial, GOOD, 100)
    with pytest.raises(Tripped, match="the minute from 2026-01-01T00:01Z"):
        await trial.settle(STRICT)
    assert trial.store.events == []


@pytest.mark.parametrize(("bad", "stops"), [(10, False), (11, True)])
async def test_it_takes_more_than_the_share(bad: int, *, stops: bool) -> None:
    """Half of a minute's records is not more than half."""
    trial = make_trial()
    await send(trial, GOOD, 10)
    await trial.settle(STRICT)
    await send(trial, BAD, bad)
    if stops:
        with pytest.raises(Tripped):
            await trial.settle(STRICT)
    else:
        await trial.settle(STRICT)
        trial.check()


async def test_who_always_sends_bad_events_stops_nobody() -> None:
    """What made up a part of yesterday is nothing new, even if it is all there is at night."""
    trial = make_trial()
    await pass_day(trial, good=900, bad=100)
    await send(trial, BAD, 50)
    await trial.settle(STRICT)
    trial.check()
    assert len(trial.store.rejected) == 150


async def test_a_trickle_of_bad_events_does_not_hide_a_flood() -> None:
    """What made up next to nothing of yesterday is new."""
    trial = make_trial()
    await pass_day(trial, good=990, bad=10)
    await send(trial, BAD, 50)
    with pytest.raises(Tripped, match=r"of the day before it were 1\.0%"):
        await trial.settle(STRICT)


async def test_what_began_within_the_hour_is_new() -> None:
    """Otherwise its first minutes would be the proof that it is usual."""
    trial = make_trial()
    await send(trial, BAD, 9)
    await trial.settle(STRICT)
    trial.clock.advance(600)
    await send(trial, BAD, 20)
    with pytest.raises(Tripped):
        await trial.settle(STRICT)


async def test_one_workspace_of_several_stops_nobody() -> None:
    """Others' events of the same name are stored in the same minute: the schema is right."""
    trial = make_trial()
    await send(trial, GOOD, 1, workspace="two")
    await trial.settle(STRICT)
    await send(trial, BAD, 50, workspace="one")
    await send(trial, GOOD, 1, workspace="three")
    await trial.settle(STRICT)
    await send(trial, BAD, 50, workspace="one")
    await trial.settle(STRICT)
    trial.check()
    assert len(trial.store.rejected) == 100


async def test_who_sends_other_events_is_no_witness() -> None:
    """Stored clicks say nothing about the schema of purchases."""
    trial = make_trial()
    await trial.append(*(trial.make_event(workspace_id=f"ws{index}") for index in range(5)))
    await send(trial, BAD, 50)
    with pytest.raises(Tripped):
        await trial.settle(STRICT)


async def test_all_workspaces_that_are_hit_stop_it() -> None:
    """Each of them lost most of its events of that name."""
    trial = make_trial()
    for workspace in ("one", "two", "three"):
        await send(trial, BAD, 10, workspace)
    await send(trial, GOOD, 1, workspace="four")
    with pytest.raises(Tripped):
        await trial.settle(STRICT)


async def test_records_that_cannot_be_read_need_no_second_witness() -> None:
    """No client can send them: a collector of another version writes them, or a stranger."""
    trial = make_trial()
    await trial.append(trial.make_event())
    await trial.append(*(b'{"workspace_id":"ws","v":2}' for _ in range(20)))
    with pytest.raises(Tripped, match=r"\(unreadable_record\)"):
        await trial.settle()
    assert trial.store.calls.count("count_senders") == 0


async def test_what_the_store_refuses_stops_it_before_the_rest_is_stored() -> None:
    """It is found out late; the range was begun, and is repeated as it is."""
    trial = make_trial()
    poison = [trial.make_event(properties=POISON) for _ in range(20)]
    await trial.append(trial.make_event(), *poison)
    for _ in range(2):
        with pytest.raises(Tripped, match=r"refused_by_store \$\.properties"):
            await trial.settle()
        assert not trial.store.events
        assert not trial.store.rejected
        start_again(trial)
    start_again(trial, share=1)
    await trial.settle()
    trial.check()


async def test_elements_of_an_array_are_one_reason() -> None:
    """`items[3].price` and `items[8].price` break the same rule."""
    trial = make_trial()
    paths = [f"$.properties.items[{index}]" for index in range(20)]
    taxonomy = _Scattered(paths)
    await send(trial, BAD, 20)
    with pytest.raises(Tripped, match=r"\$\.properties\.items\[\]"):
        await trial.settle(taxonomy)


class _Scattered(Taxonomy):
    """Every event breaks it somewhere else."""

    def __init__(self, paths: list[str]) -> None:
        super().__init__([])
        self._paths = iter(paths)

    def is_doubtful(self, event: str, properties: bytes) -> bool:
        return event == "purchase"

    def check(self, event: str, properties: dict[str, object]) -> Rejected | None:
        return Rejected(Code.SCHEMA_VIOLATION, "no", next(self._paths), "purchase/1")


async def test_different_reasons_do_not_add_up() -> None:
    """A mistake of ours has one reason; many reasons are many senders'."""
    trial = make_trial()
    await send(trial, BAD, 10)
    await trial.append(*([b"junk"] * 10))
    await trial.settle(STRICT)
    trial.check()


async def test_a_replay_does_not_count() -> None:
    """It was rejected before, and the operator who sends it through sees what becomes of it."""
    trial = make_trial()
    await send(trial, BAD, 50, mark=MARK_REPLAY)
    await trial.settle(STRICT)
    trial.check()


async def test_a_marked_retry_counts() -> None:
    """While Redis is away every request with a key is marked: a bad deploy looks like that, too."""
    trial = make_trial()
    await send(trial, BAD, 50, mark=MARK_RETRY)
    with pytest.raises(Tripped):
        await trial.settle(STRICT)
    assert trial.store.rejected == []
    start_again(trial)
    await trial.settle(NORMAL)
    trial.check()


async def test_what_others_write_meanwhile_counts() -> None:
    """Before it stops it looks again: good events of other partitions may be on their way."""
    trial = make_trial()
    await send(trial, BAD, 20)
    pausing, going = asyncio.Event(), asyncio.Event()

    class Slow(Breaker):
        async def _judge(self, case: object, now: float, pause: object) -> None:
            async def wait(_seconds: float) -> None:
                pausing.set()
                await going.wait()

            await super()._judge(case, now, wait)  # type: ignore[arg-type] # as it came

    trial.breaker = Slow(trial.store, 0.5, 10)
    processor = trial.processor(STRICT)
    run = asyncio.create_task(processor.run())
    await until(pausing.is_set)
    trial.store.events += [_other_row(trial) for _ in range(30)]
    going.set()
    await until(trial.is_settled)
    await finish(run, processor)
    assert len(trial.store.rejected) == 20


def _other_row(trial: Trial) -> EventRow:
    event = trial.make_event()
    return identify_event(Place("elsewhere", 7, 1), event)


async def test_a_range_that_was_stored_is_not_rejected() -> None:
    """Commits are lost and the schema is stricter now: what is held does not count."""
    trial = make_trial(rows=6)
    await send(trial, BAD, 20)
    await trial.settle(NORMAL)
    trial.log.forget_commits()
    await trial.settle(STRICT)
    trial.check()
    assert len(trial.store.events) == 20


@pytest.mark.parametrize("point", [Point.ANNOUNCED, Point.EVENTS_INSERTED])
async def test_it_is_the_next_owner_of_a_range_too_that_is_stopped(point: Point) -> None:
    """Begun by the version before; what that one stored is stored, the rest waits."""
    trial = make_trial(rows=40)
    await send(trial, BAD, 20)
    await trial.run_until_crash(NORMAL, at=point)
    stored = len(trial.store.events)
    if stored:
        await trial.settle(STRICT)
    else:
        with pytest.raises(Tripped):
            await trial.settle(STRICT)
    assert (len(trial.store.events), len(trial.store.rejected)) == (stored, 0)
    await trial.settle(NORMAL)
    trial.check()


async def test_it_hears_that_its_partition_was_revoked() -> None:
    """While it waits for its second look."""
    trial = make_trial()
    await send(trial, BAD, 20)
    trial.breaker = Breaker(trial.store, 0.5, 10, second_look_seconds=3600)
    freeze = Freeze(Point.LOOKED)
    processor = trial.processor(STRICT, freeze)
    run = asyncio.create_task(processor.run())
    await until(freeze.reached.is_set)
    freeze.thawed.set()
    await until(lambda: "count_outcomes" in trial.store.calls)
    await finish(run, processor)


async def test_the_store_is_asked_seldom() -> None:
    """Not for ranges with few bad events, and once a second for the others."""
    trial = make_trial(rows=4)
    for _ in range(5):
        await send(trial, GOOD, 3)
        await send(trial, BAD, 1)
    await trial.settle(STRICT)
    assert "count_outcomes" not in trial.store.calls
    start_again(trial, records=1_000)
    await send(trial, BAD, 40)
    await trial.settle(STRICT)
    assert trial.store.calls.count("count_outcomes") == 1
    trial.check()


async def test_a_store_that_cannot_be_asked_is_waited_for() -> None:
    """Nothing is written on a guess."""
    trial = make_trial()
    await send(trial, BAD, 20)
    trial.store.fail("count_outcomes", times=3)
    with pytest.raises(Tripped):
        await trial.settle(STRICT)
    assert trial.store.rejected == []
