"""What every gate promises about limits: never one too many in any 60 seconds, among all.

The first half of the suite of `headrace.collector.gate.Gate`; an adapter joins in `gates.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from headrace.collector.limiting import EXACT_UP_TO
from tests.contracts.gates import SUBJECTS, Subject


@pytest.fixture(params=sorted(SUBJECTS))
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    name: str = request.param
    server = request.getfixturevalue("redis") if name == "redis" else None
    async with SUBJECTS[name](server) as subject:
        yield subject


async def passes(subject: Subject, limit: int, workspace_id: str = "ws") -> bool:
    return (await subject.gate.enter(workspace_id, limit)).decision.allowed


async def test_as_many_as_the_limit_pass_and_no_more(subject: Subject) -> None:
    """Each answer says how many are left, and when more room comes."""
    decisions = [(await subject.gate.enter("ws", 3)).decision for _ in range(5)]
    assert [each.allowed for each in decisions] == [True] * 3 + [False] * 2
    assert [each.remaining for each in decisions] == [2, 1, 0, 0, 0]
    assert {each.limit for each in decisions} == {3}
    assert all(50 < each.seconds <= 60 for each in decisions)


async def test_collectors_share_a_limit(subject: Subject) -> None:
    """A hundred of a hundred and twenty, whoever is asked, fifty at once."""
    for _ in range(2):
        entries = await asyncio.gather(
            *(gate.enter("ws", 100) for gate in (subject.gate, subject.other) for _ in range(25))
        )
        assert all(entry.decision.allowed for entry in entries)
    entries = await asyncio.gather(*(subject.other.enter("ws", 100) for _ in range(20)))
    assert not any(entry.decision.allowed for entry in entries)


async def test_of_many_at_once_exactly_the_limit_pass(subject: Subject) -> None:
    """Fifty at once at each of two collectors, and sixty may pass."""
    entries = await asyncio.gather(
        *(gate.enter("ws", 60) for _ in range(50) for gate in (subject.gate, subject.other))
    )
    assert sum(entry.decision.allowed for entry in entries) == 60


async def test_room_comes_when_the_oldest_leave(subject: Subject) -> None:
    """A window that slides, not one that begins anew each minute."""
    assert await passes(subject, 2)
    subject.advance(30)
    assert await passes(subject, 2)
    subject.advance(20)
    refused = (await subject.gate.enter("ws", 2)).decision
    assert not refused.allowed
    assert 1 <= refused.seconds <= 10
    subject.advance(refused.seconds)
    assert await passes(subject, 2)
    assert not await passes(subject, 2)


async def test_those_refused_do_not_count(subject: Subject) -> None:
    """Who knocks all the time is let in as soon as anybody else."""
    assert await passes(subject, 1)
    for _ in range(5):
        subject.advance(9)
        assert not await passes(subject, 1)
    subject.advance(15)
    assert await passes(subject, 1)


async def test_a_lowered_limit_holds_at_once(subject: Subject) -> None:
    """And says when enough have left, not when the first does."""
    for _ in range(10):
        await passes(subject, 100)
        subject.advance(1)
    decision = (await subject.gate.enter("ws", 3)).decision
    assert (decision.allowed, decision.remaining) == (False, 0)
    assert 51 < decision.seconds <= 57, "not 50 or less, when the first leaves"
    subject.advance(decision.seconds)
    assert await passes(subject, 3)


async def test_a_raised_limit_holds_at_once(subject: Subject) -> None:
    """What was counted exactly goes on counting among buckets."""
    assert [await passes(subject, 1) for _ in range(2)] == [True, False]
    decision = (await subject.gate.enter("ws", EXACT_UP_TO + 5)).decision
    assert (decision.allowed, decision.remaining) == (True, EXACT_UP_TO + 3)
    assert (await subject.gate.look("ws", 2)).remaining == 0


async def test_large_limits_never_let_more_through(subject: Subject) -> None:
    """Counted in buckets of 100 ms, which leave as a whole."""
    limit = EXACT_UP_TO + 1
    for _ in range(101):
        entries = await asyncio.gather(*(subject.gate.enter("ws", limit) for _ in range(100)))
    assert sum(entry.decision.allowed for entry in entries) == 1
    subject.advance(30)
    assert not await passes(subject, limit)
    subject.advance(31)
    decision = (await subject.gate.enter("ws", limit)).decision
    assert (decision.allowed, decision.remaining) == (True, limit - 1)


async def test_looking_counts_nothing(subject: Subject) -> None:
    """It says what would be decided."""
    assert (await subject.gate.look("ws", 1)).allowed
    assert await passes(subject, 1)
    looked = await subject.gate.look("ws", 1)
    assert (looked.allowed, looked.remaining) == (False, 0)


async def test_workspaces_do_not_share_a_limit(subject: Subject) -> None:
    """One that is at its limit leaves the others alone."""
    assert [await passes(subject, 1, name) for name in ("a", "a", "b", "b")] == [
        True,
        False,
        True,
        False,
    ]


async def test_a_dry_run_decides_the_same(subject: Subject) -> None:
    """Those it would refuse do not count either."""
    for expected in (True, False, False):
        entry = await subject.gate.enter("ws", 1, dry_run=True)
        assert entry.decision.allowed is expected
    subject.advance(60)
    assert (await subject.gate.enter("ws", 1, dry_run=True)).decision.allowed
