"""Requests and replays that come twice: one of each id is stored."""

from __future__ import annotations

from datetime import timedelta

import pytest

from headrace.processor.failpoints import Point
from headrace.schemas.records import MARK_REPLAY, MARK_RETRY
from headrace.schemas.taxonomy import Taxonomy
from headrace.store.port import Place
from tests.processor.trial import LOOSE, NORMAL, Trial, event_id

AT_ONCE, ONE_BY_ONE = 100, 1
every_range = pytest.mark.parametrize("rows", [AT_ONCE, 4, ONE_BY_ONE])


@every_range
async def test_a_request_repeated_after_its_key_was_forgotten(rows: int) -> None:
    """The retry has the same ids and a mark; not one row is added."""
    trial = Trial(rows=rows)
    request = trial.make_request(1, 5, user_id="u", anonymous_id="d")
    await trial.append(*request)
    await trial.append(*request, mark=MARK_RETRY)
    await trial.settle()
    trial.check()
    assert trial.stored_ids == [event_id(index, request=1) for index in range(5)]
    assert [row.kept.position for row in trial.store.duplicates] == [1, 2, 3, 4, 5]


@every_range
@pytest.mark.parametrize("taxonomy", [NORMAL, LOOSE])
async def test_a_rejected_request_repeated_after_its_key_was_forgotten(
    rows: int, taxonomy: Taxonomy
) -> None:
    """Not one row is added, also where the schema was mended in between: a retry is no replay."""
    trial = Trial(rows=rows)
    request = [trial.purchase(20, event_id=event_id(index, request=1)) for index in range(3)]
    await trial.append(*request)
    await trial.settle(NORMAL)
    await trial.append(*request, mark=MARK_RETRY)
    await trial.settle(taxonomy)
    trial.check()
    assert (trial.stored_ids, len(trial.store.rejected)) == ([], 3)
    assert [row.kept.position for row in trial.store.duplicates] == [1, 2, 3]


@every_range
@pytest.mark.parametrize("crash", [None, *Point])
async def test_a_first_try_stored_after_its_marked_retry(rows: int, crash: Point | None) -> None:
    """The retry is remembered, by whoever owns the partition then."""
    trial = Trial(rows=rows)
    request = trial.make_request(1, 3)
    await trial.append(*request, mark=MARK_RETRY)
    if crash is not None:
        await trial.run_until_crash(at=crash)
    await trial.append(trial.make_event(), *request)
    await trial.settle()
    trial.check()
    assert len(trial.store.events) == 4
    assert {row.request for row in trial.store.duplicates} == {event_id(0, request=1)[:28]}


async def test_a_retry_is_remembered_for_an_hour_of_the_logs_time() -> None:
    """Records appended later are not looked up any more, however soon they are read."""
    trial = Trial()
    await trial.append(*trial.make_request(1, 2), mark=MARK_RETRY)
    trial.clock.advance(3600)
    await trial.append(trial.make_request(1, 2)[0])
    trial.clock.advance(1)
    await trial.append(trial.make_event())
    await trial.settle()
    trial.check()
    trial.store.calls.clear()
    await trial.append(trial.make_event())
    await trial.settle()
    assert "find_requests" not in trial.store.calls


async def test_a_backlog_read_late_is_judged_by_the_logs_time() -> None:
    """A day passes before the first try, stored right after its retry, is read."""
    trial = Trial(rows=ONE_BY_ONE)
    request = trial.make_request(1, 1)
    await trial.append(*request, mark=MARK_RETRY)
    await trial.append(*request)
    await trial.run_until_crash(at=Point.COMMITTED)
    trial.clock.advance(24 * 3600)
    await trial.settle()
    trial.check()
    assert len(trial.store.duplicates) == 1


@every_range
async def test_a_request_tried_many_times(rows: int) -> None:
    """However many retries there are and in whatever ranges, one of each id is stored."""
    trial = Trial(rows=rows)
    request = trial.make_request(1, 2)
    for _ in range(4):
        await trial.append(*request, mark=MARK_RETRY)
    await trial.settle()
    trial.check()
    assert (len(trial.store.events), len(trial.store.duplicates)) == (2, 6)


async def test_requests_of_two_workspaces_never_meet() -> None:
    """The same id in another workspace is another event."""
    trial = Trial()
    await trial.append(*trial.make_request(1, 1), mark=MARK_RETRY)
    await trial.append(*trial.make_request(1, 1, workspace_id="other"), mark=MARK_RETRY)
    await trial.settle()
    trial.check()
    assert [row.workspace_id for row in trial.store.events] == ["ws", "other"]


@every_range
async def test_a_replay_of_rejected_events_is_stored_once(rows: int) -> None:
    """After the schema was mended they go in under their old ids, however often they are sent."""
    trial = Trial(rows=rows)
    events = [trial.purchase(20, user_id="u", anonymous_id="d"), trial.purchase(30)]
    await trial.append(*events)
    await trial.settle(NORMAL)
    for _ in range(2):
        await trial.append(*events, mark=MARK_REPLAY)
    await trial.settle(LOOSE)
    trial.check()
    assert len(trial.store.rejected) == 2
    assert trial.stored_ids == [event.event_id for event in events]
    assert len(trial.store.duplicates) == 2


async def test_a_replay_that_breaks_its_schema_still_is_rejected_again() -> None:
    """Nothing is stored, nothing is lost, and it can be replayed again."""
    trial = Trial()
    event = trial.purchase(20)
    await trial.append(event)
    await trial.append(event, mark=MARK_REPLAY)
    await trial.settle()
    await trial.append(event, mark=MARK_REPLAY)
    await trial.settle(LOOSE)
    trial.check()
    assert (len(trial.store.rejected), len(trial.store.events)) == (2, 1)


async def test_a_replay_through_a_new_log_finds_what_the_old_one_stored() -> None:
    """Places of two logs differ; the id is held all the same."""
    trial = Trial()
    event = trial.make_event()
    await trial.append(event)
    await trial.settle()
    old = trial.log.log_id
    trial.log.replace()
    await trial.append(event, mark=MARK_REPLAY)
    await trial.settle()
    trial.check()
    assert [row.kept for row in trial.store.duplicates] == [Place(old, 0, 1)]


async def test_replays_are_not_remembered() -> None:
    """A million of them would be looked up by every unmarked record for an hour."""
    trial = Trial()
    await trial.append(trial.make_event(), mark=MARK_REPLAY)
    await trial.settle()
    assert "remember_requests" not in trial.store.calls
    assert (
        await trial.store.remembered_requests(
            trial.log.log_id, 0, trial.clock.now() - timedelta(hours=2)
        )
        == []
    )


async def test_only_stored_events_link() -> None:
    """Neither a duplicate nor a rejected event joins two ids."""
    trial = Trial()
    await trial.append(*trial.make_request(1, 1, anonymous_id="d", user_id="first"))
    await trial.append(
        *trial.make_request(1, 1, anonymous_id="d", user_id="retry"), mark=MARK_RETRY
    )
    await trial.append(trial.purchase(20, anonymous_id="e", user_id="rejected"))
    await trial.settle()
    trial.check()
    assert [link.user_id for link in trial.store.links] == ["first"]
