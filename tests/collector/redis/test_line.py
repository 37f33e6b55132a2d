"""How long a collector waits for Redis, counted on a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from headrace.collector.redis.address import read_redis_url
from headrace.collector.redis.line import TURNS, Line, Talk
from headrace.collector.redis.scripts import Script
from tests.services.redis import RedisServer


async def greet(_: Talk) -> None:
    """It need not be greeted."""


async def let_all_run() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_nobody_waits_longer_than_fifty_milliseconds(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither who asked first nor who asked while the line was waiting."""
    monkeypatch.setattr("headrace.collector.redis.line.TURNS", TURNS)  # other tests here have more
    loop = asyncio.get_running_loop()
    line = Line(read_redis_url(server.url).connection, greet)
    await line.first_try()
    assert line.is_up
    server.freeze()
    turns: list[tuple[float, Callable[[], object]]] = []
    later = loop.call_later

    def note(delay: float, callback: Callable[..., object], *arguments: Any, **_: Any) -> Any:
        turns.append((delay, lambda: callback(*arguments)))
        return later(3600.0, callback, *arguments)

    monkeypatch.setattr(loop, "call_later", note)
    script = Script("return 1")
    asking = [asyncio.create_task(line.ask(script, [], []))]
    await let_all_run()
    passed = 0.0
    while not asking[0].done():
        assert passed < 1.0, "it waits and waits"
        delay, turn = turns.pop(0)
        passed += delay
        turn()
        await let_all_run()
        if len(asking) == 1:
            asking.append(asyncio.create_task(line.ask(script, [], [])))
            await let_all_run()
    assert passed == pytest.approx(0.05)
    assert [each.done() and each.result() for each in asking] == [None, None]
    assert await line.ask(script, [], []) is None, "and from now on at once"
    await line.stop()
