"""What every gate promises about keys: one first, its answer again, a mark where it is not sure.

The second half of the suite of `headrace.collector.gate.Gate`; an adapter joins in `gates.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from headrace.collector.gate import Entry, Gate
from headrace.collector.idempotency import Claimed, First, Kept, Mismatch, Replay, Running
from headrace.eventlog.port import Batch, NewRecord
from headrace.schemas.errors import Overloaded, Unavailable
from tests.contracts.gates import SUBJECTS, Subject
from tests.services.redis import RedisServer

DAY = 24 * 3600.0
KEY, BODY, OTHER_BODY = b"k" * 32, b"b" * 32, b"o" * 32
BATCH = Batch([NewRecord(b"key", b"value")])
KEPT = Kept(BODY, 1, [])


@pytest.fixture(params=sorted(SUBJECTS))
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Gates whose keys have been kept for more than a day."""
    name: str = request.param
    server = request.getfixturevalue("redis") if name == "redis" else None
    async with SUBJECTS[name](server) as subject:
        subject.advance(DAY + 1)
        yield subject


def now(subject: Subject) -> datetime:
    return subject.log.clock.now().astimezone(UTC)


async def come(
    subject: Subject, key: bytes = KEY, body: bytes = BODY, gate: Gate | None = None
) -> tuple[Entry, Claimed]:
    """A request up to its claim."""
    gate = gate or subject.gate
    entry = await gate.enter("ws", 1_000, key=key)
    return entry, await gate.claim(entry, body, now(subject))


async def send(
    subject: Subject, key: bytes = KEY, body: bytes = BODY, gate: Gate | None = None
) -> Claimed:
    """A whole request."""
    gate = gate or subject.gate
    entry, claimed = await come(subject, key, body, gate)
    try:
        if isinstance(claimed, First):
            await gate.append(entry, BATCH, Kept(body, 1), now(subject))
    finally:
        gate.leave(entry)
    return claimed


def is_marked(claimed: Claimed) -> bool:
    assert isinstance(claimed, First)
    return claimed.marked


async def test_the_first_is_proved_and_the_next_get_its_answer(subject: Subject) -> None:
    """Whichever collector they come to."""
    assert not is_marked(await send(subject))
    for gate in (subject.gate, subject.other):
        assert await send(subject, gate=gate) == Replay(KEPT)
    assert len(subject.log.records()) == 1


async def test_another_body_is_told_so(subject: Subject) -> None:
    """Whichever came first stays as it is."""
    await send(subject)
    assert await send(subject, body=OTHER_BODY) == Mismatch()
    assert await send(subject) == Replay(KEPT)


async def test_what_is_kept_comes_back_whole(subject: Subject) -> None:
    """An answer without any event among them: nothing is appended, and it is kept all the same."""
    entry, claimed = await come(subject)
    assert isinstance(claimed, First)
    kept = Kept(BODY, 0, [])
    await subject.gate.append(entry, Batch([]), kept, now(subject))
    subject.gate.leave(entry)
    assert await send(subject) == Replay(kept)
    assert subject.log.records() == []


async def test_of_fifty_at_once_one_is_first(subject: Subject) -> None:
    """The others are told to come back, and then get its answer."""
    gates = [subject.gate, subject.other] * 25
    came = await asyncio.gather(*(come(subject, gate=gate) for gate in gates))
    claims = [claimed for _, claimed in came]
    assert sum(isinstance(claimed, First) for claimed in claims) == 1
    assert claims.count(Running()) == 49
    for gate, (entry, claimed) in zip(gates, came, strict=True):
        if isinstance(claimed, First):
            await gate.append(entry, BATCH, KEPT, now(subject))
        gate.leave(entry)
    assert await send(subject, gate=subject.other) == Replay(KEPT)


async def test_of_many_retries_at_once_all_are_replayed(subject: Subject) -> None:
    """Who only looks does not stand in the others' way."""
    await send(subject)
    claims = await asyncio.gather(*(send(subject) for _ in range(20)))
    assert claims == [Replay(KEPT)] * 20


async def test_who_leaves_without_an_append_frees_the_key(subject: Subject) -> None:
    """A bad body: the mended one is a first, proved."""
    entry, claimed = await come(subject)
    assert not is_marked(claimed)
    subject.gate.leave(entry)
    subject.gate.leave(entry)
    assert not is_marked(await send(subject, body=OTHER_BODY))


async def test_who_leaves_before_the_body_came_frees_the_key(subject: Subject) -> None:
    """The client hung up."""
    subject.gate.leave(await subject.gate.enter("ws", 1_000, key=KEY))
    assert not is_marked(await send(subject))


async def test_who_only_looked_frees_nothing(subject: Subject) -> None:
    """The key stays with the one that runs."""
    first, _ = await come(subject)
    again, claimed = await come(subject)
    assert claimed == Running()
    subject.gate.leave(again)
    assert (await come(subject))[1] == Running()
    await subject.gate.append(first, BATCH, KEPT, now(subject))
    assert await send(subject) == Replay(KEPT)


async def test_over_the_limit_nothing_is_claimed(subject: Subject) -> None:
    """The request that passes later is a first, proved."""
    assert (await subject.gate.enter("ws", 1)).decision.allowed
    refused = await subject.gate.enter("ws", 1, key=KEY)
    assert not refused.decision.allowed
    subject.gate.leave(refused)
    assert not is_marked(await send(subject))


async def test_in_a_dry_run_it_is(subject: Subject) -> None:
    """The request goes on, so its key is its own."""
    await subject.gate.enter("ws", 1, dry_run=True)
    entry = await subject.gate.enter("ws", 1, key=KEY, dry_run=True)
    assert not entry.decision.allowed
    assert not is_marked(await subject.gate.claim(entry, BODY, now(subject)))
    assert (await come(subject))[1] == Running()
    subject.gate.leave(entry)


async def test_after_overload_the_key_is_free_and_unmarked(subject: Subject) -> None:
    """Nothing was stored, for certain."""
    subject.log.fail_appends(Overloaded("full"))
    with pytest.raises(Overloaded):
        await send(subject)
    subject.log.fail_appends(None)
    assert not is_marked(await send(subject))


async def test_after_an_uncertain_append_the_next_is_marked(subject: Subject) -> None:
    """It may have been stored; and so it stays until one was answered."""
    subject.log.fail_appends(Unavailable("no answer"))
    with pytest.raises(Unavailable):
        await send(subject)
    subject.log.fail_appends(None)
    entry, claimed = await come(subject)
    assert is_marked(claimed)
    subject.gate.leave(entry)
    subject.log.fail_appends(Overloaded("full"))
    with pytest.raises(Overloaded):
        await send(subject)
    subject.log.fail_appends(None)
    assert is_marked(await send(subject))
    assert await send(subject) == Replay(KEPT)


async def test_after_a_cancelled_append_the_next_is_marked(subject: Subject) -> None:
    """It may go on without the one that began it."""
    entry, _ = await come(subject)
    appending = asyncio.ensure_future(subject.gate.append(entry, BATCH, KEPT, now(subject)))
    await asyncio.sleep(0)
    appending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await appending
    subject.gate.leave(entry)
    assert is_marked(await send(subject))


async def test_a_key_is_kept_for_24_hours(subject: Subject) -> None:
    """Then it may be used again."""
    await send(subject)
    subject.advance(DAY - 60)
    assert await send(subject) == Replay(KEPT)
    subject.advance(60)
    assert isinstance(await send(subject), First)


async def test_a_young_store_proves_nothing(redis: RedisServer) -> None:
    """What came before it began is not known."""
    for factory in SUBJECTS.values():
        async with factory(redis) as subject:
            assert is_marked(await send(subject, b"1" * 32))
            subject.advance(DAY - 60)
            assert is_marked(await send(subject, b"2" * 32))
            subject.advance(60)
            assert not is_marked(await send(subject, b"3" * 32))
