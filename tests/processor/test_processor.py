"""The processor as its process sees it: partitions come and go, trouble is waited out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import structlog
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from headrace.eventlog.memory import MemoryAssignment
from headrace.eventlog.port import Committed, Record
from headrace.processor.failpoints import Point
from headrace.processor.patience import Backoff
from headrace.schemas.errors import Overloaded, Refused, Unavailable
from tests.processor.trial import Crash, Freeze, Trial, crash_at, finish, until


class Reads:
    """Says where nothing was found last, and fails when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.empty_at = 0
        self.error: Exception | None = None
        read = MemoryAssignment.read

        async def noted(log: MemoryAssignment, position: int, **bounds: Any) -> Sequence[Record]:
            if self.error is not None:
                raise self.error
            records = await read(log, position, **bounds)
            if not records:
                self.empty_at = position
            return records

        monkeypatch.setattr(MemoryAssignment, "read", noted)


async def test_every_partition_has_a_worker() -> None:
    """Records of all partitions are settled side by side."""
    trial = Trial(partitions=4)
    for key in range(40):
        await trial.append(trial.make_event(), key=b"%d" % key)
    await trial.settle()
    trial.check()
    assert {row.place.partition for row in trial.store.events} == {0, 1, 2, 3}


async def test_it_goes_on_with_a_new_log() -> None:
    """Its assignments are revoked, and new workers settle the new log's records."""
    trial = Trial()
    processor = trial.processor()
    run = asyncio.create_task(processor.run())
    await trial.append(trial.make_event())
    await until(lambda: len(trial.store.events) == 1 and trial.is_settled())
    trial.log.replace()
    await trial.append(trial.make_event())
    await until(lambda: len(trial.store.events) == 2 and trial.is_settled())
    await finish(run, processor)
    trial.check()


@pytest.mark.parametrize("error", [Unavailable("gone"), Overloaded("full"), Refused("never")])
@pytest.mark.parametrize("method", ["insert_events", "highest_position", "insert_rejected"])
async def test_stopping_in_the_middle_of_retries_is_prompt(method: str, error: Exception) -> None:
    """The back-off, however long it has become, hears that the partition was revoked."""
    assert isinstance(error, Unavailable | Overloaded | Refused)
    trial = Trial()
    trial.backoff = Backoff(first_seconds=3600, longest_seconds=3600)
    await trial.append(trial.make_event(), b"unreadable")
    trial.store.fail(method, error=error, times=1_000)
    processor = trial.processor()
    run = asyncio.create_task(processor.run())
    await until(lambda: method in trial.store.calls)
    await finish(run, processor)
    trial.store._faults.clear()
    trial.backoff = Backoff(first_seconds=0.0)
    await trial.settle()
    trial.check()


async def test_nothing_is_committed_after_a_revocation() -> None:
    """An insert that was under way is finished; its range is the next owner's to confirm."""
    trial = Trial()
    await trial.append(trial.make_event())
    freeze = Freeze(Point.EVENTS_INSERTED)
    processor = trial.processor(fail_point=freeze)
    run = asyncio.create_task(processor.run())
    await until(freeze.reached.is_set)
    stop = asyncio.create_task(processor.stop())
    await asyncio.sleep(0)
    freeze.thawed.set()
    await stop
    await run
    assert trial.log.partitions[0].committed == Committed(1, 1)
    await trial.settle()
    trial.check()


async def test_a_replaced_owner_ends_quietly_and_its_commit_is_refused() -> None:
    """The new owner's position stands."""
    trial = Trial()
    await trial.append(trial.make_event())
    freeze = Freeze(Point.EVENTS_INSERTED)
    old = trial.processor(fail_point=freeze)
    run = asyncio.create_task(old.run())
    await until(freeze.reached.is_set)
    await trial.settle()
    await trial.append(trial.make_event())
    freeze.thawed.set()
    for _ in range(50):
        await asyncio.sleep(0)
    assert trial.log.partitions[0].committed == Committed(2)
    await finish(run, old)
    await trial.settle()
    trial.check()


async def test_a_worker_that_fails_stops_them_all_and_is_reported() -> None:
    """What ended it comes out of `run`, once every other worker has released its partition."""
    trial = Trial(partitions=3)
    for key in range(30):
        await trial.append(trial.make_event(), key=b"%d" % key)
    with pytest.raises(Crash):
        await trial.processor(fail_point=crash_at(Point.ANNOUNCED)).run()
    await trial.settle()
    trial.check()


async def test_stopping_twice_or_before_running_is_harmless() -> None:
    """A process may be told to end at any moment."""
    processor = Trial().processor()
    await processor.stop()
    await processor.stop()


async def test_a_large_range_goes_through_the_steps_in_a_thread() -> None:
    """The outcome is the same as that of a small one."""
    trial = Trial(rows=5_000)
    await trial.append(*(trial.purchase(index % 20) for index in range(2_000)))
    await trial.settle()
    trial.check()
    assert len(trial.store.rejected) == 900


async def test_ranges_are_begun_no_more_often_than_they_may() -> None:
    """The first at once; what comes after it gathers, also while nothing is being written."""
    trial = Trial()
    trial.flush = msgspec.structs.replace(trial.flush, seconds=3600.0)
    processor = trial.processor()
    run = asyncio.create_task(processor.run())
    await trial.append(trial.make_event())
    await until(lambda: len(trial.store.events) == 1 and trial.is_settled())
    await trial.append(trial.make_event())
    for _ in range(200):
        await asyncio.sleep(0)
    assert len(trial.store.events) == 1
    await finish(run, processor)
    await trial.settle()
    trial.check()


@pytest.mark.parametrize(
    ("rows", "expected"), [(100, [(1, 1), (2, 6)]), (3, [(1, 1), (2, 4), (5, 6)])]
)
async def test_what_comes_while_a_range_is_written_goes_with_the_next(
    rows: int, expected: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as it has room; what was there first is prepared by then."""
    trial = Trial(rows=rows)
    freeze, announced, reads = Freeze(Point.EVENTS_INSERTED), [], Reads(monkeypatch)

    async def fail_point(point: Point) -> None:
        if point is Point.ANNOUNCED:
            announced.append(trial.log.partitions[0].committed)
        await freeze(point)

    await trial.append(trial.make_event())
    processor = trial.processor(fail_point=fail_point)
    run = asyncio.create_task(processor.run())
    await until(freeze.reached.is_set)
    await trial.append(trial.make_event(user_id="u1", anonymous_id="d1"))
    await until(lambda: reads.empty_at == 3)
    await trial.append(trial.make_event(), b"none", trial.purchase(20))
    await trial.append(trial.make_event(user_id="u1", anonymous_id="d2"))
    freeze.thawed.set()
    await until(trial.is_settled)
    await finish(run, processor)
    trial.check()
    assert announced == [Committed(first, last) for first, last in expected]


@pytest.mark.parametrize("error", [Unavailable("away"), Overloaded("busy"), LookupError("gone")])
async def test_what_cannot_be_read_holds_back_nothing_that_was(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A range that is ready is written, whatever is wrong with what would follow."""
    trial, freeze, reads = Trial(), Freeze(Point.EVENTS_INSERTED), Reads(monkeypatch)
    await trial.append(trial.make_event())
    processor = trial.processor(fail_point=freeze)
    run = asyncio.create_task(processor.run())
    await until(freeze.reached.is_set)
    await trial.append(trial.make_event())
    await until(lambda: reads.empty_at == 3)
    reads.error = error
    freeze.thawed.set()
    await until(lambda: trial.log.partitions[0].committed == Committed(3))
    if isinstance(error, LookupError):
        with pytest.raises(LookupError, match="gone"):
            await run
    else:
        await finish(run, processor)
    trial.check()


async def test_a_partition_that_is_stuck_stops_no_other() -> None:
    """One worker waits for its block for ever; the others' records are settled meanwhile."""
    trial = Trial(partitions=3, rows=1_000)
    for key in (b"0", b"2", b"7"):
        await trial.append(*(trial.make_event() for _ in range(600)), key=key)
    assert all(partition.records for partition in trial.log.partitions)
    freeze = Freeze(Point.ANNOUNCED)
    processor = trial.processor(fail_point=freeze)
    run = asyncio.create_task(processor.run())
    await until(freeze.reached.is_set)

    def settled() -> int:
        return sum(
            partition.committed == Committed(partition.end) for partition in trial.log.partitions
        )

    await until(lambda: settled() == 2)
    freeze.thawed.set()
    await until(trial.is_settled)
    await finish(run, processor)
    trial.check()


async def test_unreadable_records_keep_their_bytes_and_block_nobody() -> None:
    """Each becomes a row of `rejected_events`, in the workspace it names if it names one."""
    trial = Trial()
    junk = [b"", b"x" * 10_000_000, b'{"workspace_id":"ws","event":"click"}', b"\xff"]
    await trial.append(trial.make_event(), *junk, trial.make_event())
    await trial.settle()
    trial.check()
    assert [row.raw for row in trial.store.rejected] == junk
    assert set(trial.rejected_codes) == {"unreadable_record"}
    assert [row.workspace_id for row in trial.store.rejected] == ["", "", "ws", ""]
    taken_at = [record.appended_at for record in trial.log.records()][1:-1]
    assert [row.received_at for row in trial.store.rejected] == taken_at


async def test_a_device_is_linked_once_however_much_it_sends() -> None:
    """The first event of a pair makes its link; later ones say nothing new."""
    trial = Trial(rows=3)
    for _ in range(4):
        await trial.append(*(trial.make_event(user_id="u", anonymous_id="d") for _ in range(3)))
    await trial.settle()
    trial.check()
    assert len(trial.store.links) == 1


async def test_log_lines_say_which_partition_and_range_they_are_about() -> None:
    """Wherever in the write they come from."""
    trial = Trial(partitions=2)
    await trial.append(trial.make_event(), trial.make_event(), key=b"a")
    (partition,) = [number for number in (0, 1) if trial.log.records(number)]
    trial.store.fail("insert_events")
    structlog.configure(wrapper_class=structlog.BoundLogger)  # `quiet` puts it back
    with capture_logs(processors=[merge_contextvars]) as lines:
        await trial.settle()
    taken_over = [line for line in lines if line["event"] == "partition taken over"]
    assert sorted(line["partition"] for line in taken_over) == [0, 1]
    assert all("range" not in line for line in taken_over)
    waiting = [line for line in lines if line["event"] in ("waiting", "succeeded after waiting")]
    assert [(line["partition"], line["range"]) for line in waiting] == [(partition, "1-2")] * 2
