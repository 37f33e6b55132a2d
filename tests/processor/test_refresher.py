"""Links count soon after they were inserted, whoever dies and whatever the store answers."""

from __future__ import annotations

import asyncio
from unittest import mock

from headrace.processor.failpoints import Point
from headrace.processor.patience import Backoff
from headrace.processor.refresher import Refresher
from tests.processor.trial import Trial, finish, until


def linked(trial: Trial) -> bool:
    """Whether the device that a stored event has linked counts as its user's."""
    row = trial.store.events[0]
    return trial.store.person_id(row) == "u"


async def append_link(trial: Trial) -> None:
    """An event of a device, then one that names its user as well."""
    await trial.append(
        trial.make_event(anonymous_id="d"), trial.make_event(anonymous_id="d", user_id="u")
    )


async def test_links_of_an_owner_that_died_count_when_its_partition_is_taken_over() -> None:
    """It died after it had inserted them and before anybody loaded them."""
    trial = Trial()
    await append_link(trial)
    assert await trial.run_until_crash(at=Point.LINKS_INSERTED)
    await trial.settle()
    assert linked(trial)


async def test_a_load_that_fails_is_tried_again() -> None:
    """Nothing else waits for it meanwhile."""
    trial = Trial()
    await append_link(trial)
    trial.store.fail("refresh_identities", times=3)
    processor = trial.processor()
    run = asyncio.create_task(processor.run())
    await until(trial.is_settled)
    await until(lambda: linked(trial))
    await finish(run, processor)


async def test_a_load_that_was_asked_for_is_done_before_the_end() -> None:
    """A processor that is told to end leaves no link behind that does not count."""
    trial = Trial()
    await append_link(trial)
    await trial.settle()
    assert linked(trial)


async def test_an_error_that_nobody_has_thought_of_is_no_end() -> None:
    """Links of all later ranges would not count, and nobody would be told."""
    bug = mock.AsyncMock(side_effect=[ValueError("a bug"), None])
    refresher = Refresher(mock.Mock(refresh_identities=bug), Backoff(first_seconds=0.01))
    refresher.start()
    refresher.ask()
    await refresher.stop()
    assert bug.await_count == 2
