"""Where a new owner goes on, and when it must not."""

from __future__ import annotations

import pytest

from headrace.eventlog.port import Committed
from headrace.processor.ranges import WIDEST, Range
from headrace.processor.takeover import Held, Start, find_start
from tests.processor.trial import Trial


async def find(trial: Trial) -> Start:
    """Where a new owner of partition 0 would start."""
    async for assignment in trial.log.membership().assignments():
        return await find_start(assignment, trial.store)
    raise AssertionError("there is always a partition 0")


async def make_trial(*, appended: int = 9, settled: int = 0) -> Trial:
    """A log in which so many of the records were settled."""
    trial = Trial()
    await trial.append(*(trial.make_event() for _ in range(settled)))
    if settled:
        await trial.settle()
    await trial.append(*(trial.make_event() for _ in range(appended - settled)))
    return trial


async def test_a_new_log_begins_at_its_earliest_record() -> None:
    """Never at its end, which would skip what nobody has seen."""
    assert await find(await make_trial()) == Start(1, None, 1)


@pytest.mark.parametrize("pending_to", [None, 6, 9])
async def test_a_committed_position_is_where_to_go_on(pending_to: int | None) -> None:
    """With the range that was announced, if one was; all of the rest may be held."""
    trial = await make_trial()
    trial.log.partitions[0].committed = Committed(4, pending_to)
    assert await find(trial) == Start(4, pending_to, 10)


async def test_without_a_commit_the_tables_tell() -> None:
    """Everything the store holds is skipped, down to where the last range may have begun."""
    trial = await make_trial(settled=5)
    trial.log.forget_commits()
    assert await find(trial) == Start(1, None, 6)
    trial.store.calls.clear()
    await trial.settle()
    trial.check()
    # Once for all there was, and once more after the events of the one range in doubt.
    assert trial.store.calls.count("held_positions") == 2


async def test_records_forgotten_before_they_were_settled_are_told() -> None:
    """Without a commit, too, the store shows where it should have gone on."""
    trial = await make_trial(appended=9, settled=4)
    trial.log.forget_commits()
    trial.log.partitions[0].drop_before(8)
    with pytest.raises(LookupError, match="holds positions 8 to 9, but is settled up to 5"):
        await find(trial)
    trial.log.partitions[0].committed = Committed(8)  # a person has decided
    assert await find(trial) == Start(8, None, 10)


async def test_a_long_history_is_not_read_again() -> None:
    """Ranges are settled in order and none is wider than a bound; before that all is settled."""
    trial = await make_trial(appended=2, settled=1)
    partition = trial.log.partitions[0]
    partition.end = 3 * WIDEST
    await trial.append(trial.make_event())
    await trial.settle()
    trial.log.forget_commits()
    assert await find(trial) == Start(2 * WIDEST + 1, None, 3 * WIDEST + 1)


@pytest.mark.parametrize(
    ("committed", "dropped_to"),
    [
        (Committed(11), None),
        (Committed(99), None),
        (Committed(4, 10), None),
        (Committed(4, 99), None),
        (Committed(1), 4),
        (Committed(3, 6), 4),
    ],
)
async def test_a_position_out_of_range_stops_it_loudly(
    committed: Committed, dropped_to: int | None
) -> None:
    """The processor's `run` raises, and nothing was written or committed."""
    trial = await make_trial()
    partition = trial.log.partitions[0]
    partition.committed = committed
    if dropped_to is not None:
        partition.drop_before(dropped_to)
    with pytest.raises(LookupError, match="Restore the log"):
        await trial.settle()
    assert partition.committed == committed
    assert trial.store.events == []


async def test_rows_past_the_end_of_the_log_stop_it_loudly() -> None:
    """Commits are gone and the log is shorter than the tables: new records would be skipped."""
    trial = await make_trial(settled=9)
    partition = trial.log.partitions[0]
    partition.committed = None
    partition.records, partition.end = partition.records[:4], 5
    with pytest.raises(LookupError, match="the store holds rows up to 9"):
        await trial.settle()


async def test_held_positions_are_asked_for_once_for_many_ranges() -> None:
    """One question for a window of positions, none past what was there at the start."""
    trial = await make_trial(appended=9, settled=5)
    async for assignment in trial.log.membership().assignments():
        held = Held(trial.store, assignment, look_until=8)
        trial.store.calls.clear()
        found = []
        for first in (0, 3, 6):
            records = trial.log.records()[first : first + 3]
            found.append(await held.within(Range(trial.log.log_id, 0, records)))
        assert found == [{1, 2, 3}, {4, 5}, set()]
        assert trial.store.calls == ["held_positions"]
        break
