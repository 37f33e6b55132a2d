"""What a processor shows of itself: counts, lag, freshness, and what it waits for."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Histogram

from headrace.processor import lag
from headrace.processor.failpoints import Point
from headrace.runtime.metrics import WeightedHistogram
from headrace.schemas.errors import Unavailable
from headrace.schemas.records import MARK_REPLAY
from tests.processor.trial import NORMAL, POISON, Crash, Freeze, Trial, crash_at, finish, until

Sample = tuple[str, dict[str, str]]


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def values(samples: list[Sample]) -> list[float]:
    return [value(name, **labels) or 0 for name, labels in samples]


async def more(trial: Trial, samples: list[Sample]) -> list[float]:
    """By how much each grows while the trial's records are settled."""
    before = values(samples)
    await trial.settle(NORMAL)
    return [now - then for now, then in zip(values(samples), before, strict=True)]


async def test_records_are_counted_by_what_became_of_them() -> None:
    """Settled by outcome, rejected by code, waits by step and kind of trouble."""
    trial = Trial()
    await trial.append(trial.make_event(), trial.make_event(properties=POISON), b"")
    trial.store.fail("insert_rejected")
    grown = {
        ("headrace_records_settled_total", ("outcome", "stored")): 1,
        ("headrace_records_settled_total", ("outcome", "rejected")): 2,
        ("headrace_records_rejected_total", ("code", "refused_by_store")): 1,
        ("headrace_records_rejected_total", ("code", "unreadable_record")): 1,
        ("headrace_commits_total", ("kind", "announced")): 2,
        ("headrace_commits_total", ("kind", "settled")): 1,
        ("headrace_block_seconds_count", ("table", "events")): 2,
        ("headrace_block_seconds_count", ("table", "rejected")): 2,
    }
    samples = [(name, dict([label])) for name, label in grown]
    samples += [
        ("headrace_retries_total", {"step": "write", "kind": "unavailable"}),
        ("headrace_insert_rows_count", {}),
    ]
    assert await more(trial, samples) == [*grown.values(), 1, 1]
    assert value("headrace_settled_timestamp_seconds") == trial.clock.now().timestamp()


@pytest.mark.parametrize("count", [1, 3, 100, 101, 250])
async def test_every_event_counts_for_freshness(count: int) -> None:
    """Also of a block of which not every event is looked at."""
    trial = Trial(rows=1_000)
    received_at = trial.clock.now() - timedelta(seconds=2)
    events = [trial.make_event(received_at=received_at) for _ in range(count)]
    await trial.append(*events, b"unreadable")
    names = [f"headrace_event_to_table_seconds_{kind}" for kind in ("count", "sum")]
    counted, seconds = await more(trial, [(name, {}) for name in names])
    assert (round(counted), round(seconds)) == (count, 2 * count)


async def test_replays_say_nothing_about_freshness() -> None:
    """They were received when they were rejected, perhaps days ago."""
    trial = Trial()
    await trial.append(trial.make_event(), mark=MARK_REPLAY)
    assert await more(trial, [("headrace_event_to_table_seconds_count", {})]) == [0]


async def test_lag_is_there_as_long_as_the_partition_is_ours() -> None:
    """It grows while the store is away, and goes with the worker: two owners never show two."""
    trial = Trial()
    await trial.append(trial.make_event(), trial.make_event())
    freeze = Freeze(Point.ANNOUNCED)
    processor = trial.processor(fail_point=freeze)
    run = asyncio.create_task(processor.run())
    await until(freeze.reached.is_set)
    trial.clock.advance(40)
    assert value("headrace_lag_records", partition="0") == 2
    assert value("headrace_lag_seconds", partition="0") == 40
    assert value("headrace_assignments") == 1
    freeze.thawed.set()
    await until(trial.is_settled)
    await until(lambda: value("headrace_lag_records", partition="0") == 0)
    assert value("headrace_lag_seconds", partition="0") == 0
    await finish(run, processor)
    assert value("headrace_lag_records", partition="0") is None
    assert value("headrace_lag_seconds", partition="0") is None
    assert value("headrace_assignments") == 0


async def test_lag_is_known_before_the_first_record_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A processor that starts while the store is away, and nothing was committed yet."""
    monkeypatch.setattr(lag, "LOOK_SECONDS", 0.001)
    trial = Trial()
    await trial.append(trial.make_event(), trial.make_event())
    trial.store.is_down = True
    processor = trial.processor()
    run = asyncio.create_task(processor.run())
    await until(lambda: value("headrace_lag_records", partition="0") == 2)
    trial.clock.advance(70)
    assert value("headrace_lag_seconds", partition="0") == 70
    trial.store.is_down = False
    await until(trial.is_settled)
    await finish(run, processor)


async def test_assignments_are_counted_by_how_they_end() -> None:
    """Given, revoked, fenced, failed: what a rebalance and a fault look like."""
    samples: list[Sample] = [("headrace_assignments_begun_total", {})]
    hows = ("revoked", "fenced", "failed")
    samples += [("headrace_assignments_ended_total", {"how": how}) for how in hows]
    before = values(samples)
    trial = Trial(partitions=2)
    await trial.append(trial.make_event())
    await trial.settle()
    await trial.append(trial.make_event())
    with pytest.raises(Crash):
        await trial.processor(fail_point=crash_at(Point.ANNOUNCED)).run()
    grown = [now - then for now, then in zip(values(samples), before, strict=True)]
    assert grown[0] == sum(grown[1:]) == 4
    assert grown[3] == 1


async def test_a_processor_that_waits_too_long_says_for_what() -> None:
    """It is not ready then; a wait of some seconds is nothing."""
    trial = Trial()
    await trial.append(trial.make_event())
    trial.store.fail("insert_events", error=Unavailable("the store is away"), times=1_000_000)
    processor = trial.processor()
    assert processor.describe_partitions() == "none"
    run = asyncio.create_task(processor.run())
    await until(lambda: trial.store.calls.count("insert_events") > 1)
    trial.clock.advance(10)
    assert processor.is_moving()
    assert processor.describe_wait() == "nothing"
    trial.clock.advance(10)
    assert not processor.is_moving()
    assert processor.describe_wait() == "partition 0: write, 20 s: the store is away"
    assert processor.describe_partitions() == "0"
    trial.store._faults.clear()
    await until(trial.is_settled)
    await until(processor.is_moving)
    assert processor.is_whole()
    await finish(run, processor)


@given(st.lists(st.floats(0, 100)))
def test_many_observations_count_as_one_by_one(amounts: list[float]) -> None:
    """Buckets and count; bounds belong to the bucket below them."""
    amounts = [*amounts, 0.005, 30]
    at_once = WeightedHistogram("at_once", "", registry=CollectorRegistry(), buckets=(0.005, 1, 30))
    singly = Histogram("singly", "", registry=CollectorRegistry(), buckets=(0.005, 1, 30))
    at_once.observe_all(amounts)
    for amount in amounts:
        singly.observe(amount)

    def found(histogram: Histogram) -> list[float]:
        samples = next(iter(histogram.collect())).samples
        return [one.value for one in samples if one.name.endswith(("_bucket", "_count"))]

    assert found(at_once) == found(singly)
    assert found(at_once)[-1] == len(amounts)
