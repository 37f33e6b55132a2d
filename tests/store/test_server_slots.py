"""Who runs a query now: bounded, fair among users, first come first served."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from headrace.store.server.answers import Refusal
from headrace.store.server.slots import Slots


def make(running: int = 3, waiting: int = 4, wait_seconds: float = 0.05) -> Slots:
    return Slots(running=running, waiting=waiting, wait_seconds=wait_seconds)


async def test_a_user_gets_all_but_one() -> None:
    """The last slot is for whoever has none."""
    slots = make()
    async with slots.take("a"), slots.take("a"):
        with pytest.raises(Refusal, match="Maximum: 3"):
            async with slots.take("a"):
                pass
        async with slots.take("b"):
            with pytest.raises(Refusal):
                async with slots.take("c"):
                    pass
    async with slots.take("a"):
        pass


async def test_the_more_a_user_has_the_more_stay_free() -> None:
    """Of eight the first gets half, and three more users still find a slot at once."""
    slots = make(running=8, wait_seconds=0.0)
    got: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        for user in (*"aaaaa", *"bbb", *"cc", "d"):
            with contextlib.suppress(Refusal):
                await stack.enter_async_context(slots.take(user))
                got.append(user)
    assert "".join(got) == "aaaabbcd"


async def test_a_single_slot_is_everybodys() -> None:
    """With one slot nobody can be kept out of it for good."""
    slots = make(running=1)
    async with slots.take("a"):
        with pytest.raises(Refusal):
            async with slots.take("b"):
                pass
    async with slots.take("b"):
        pass


async def test_whoever_has_fewest_is_next() -> None:
    """Not who came first, if that one has slots already."""
    slots = make(running=2, wait_seconds=30)
    order: list[str] = []
    leave = asyncio.Event()

    async def run(user: str) -> None:
        async with slots.take(user):
            order.append(user)
            await leave.wait()

    async with slots.take("a"):
        greedy = asyncio.create_task(run("a"))
        await asyncio.sleep(0)
        modest = asyncio.create_task(run("b"))
        await _turns()
        assert order == ["b"]
    await _turns()
    assert order == ["b", "a"]
    leave.set()
    await asyncio.gather(greedy, modest)


async def test_the_queue_is_bounded() -> None:
    """And one user cannot fill more than half of it."""
    slots = make(running=1, waiting=4, wait_seconds=30)
    async with slots.take("a"):
        waiting = [asyncio.create_task(_once(slots, "b")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal):
            await _once(slots, "b")
        waiting.append(asyncio.create_task(_once(slots, "c")))
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)


async def test_whoever_gives_up_waiting_takes_no_slot() -> None:
    """A cancelled wait leaves nothing behind."""
    slots = make(running=1, wait_seconds=30)
    async with slots.take("a"):
        task = asyncio.create_task(_once(slots, "b"))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    async with slots.take("c"):
        pass


async def test_a_closed_gate_lets_nobody_in() -> None:
    """When the server stops."""
    slots = make()
    slots.close()
    with pytest.raises(Refusal):
        await _once(slots, "a")


async def _turns() -> None:
    """Enough of the loop for whatever needs no time; a sleep may take one alone."""
    for _ in range(20):
        await asyncio.sleep(0)


async def _once(slots: Slots, user: str) -> None:
    async with slots.take(user):
        await asyncio.sleep(0)
