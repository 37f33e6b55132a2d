"""When a collector says that it is ready."""

from __future__ import annotations

import asyncio
from unittest import mock

import pytest

from headrace.runtime import wiring


@pytest.mark.parametrize(("log_id", "is_stopped", "words"), [("", False, 1), ("", True, 0)])
async def test_a_log_that_is_away_keeps_nobody_waiting_for_the_word(
    monkeypatch: pytest.MonkeyPatch, log_id: str, *, is_stopped: bool, words: int
) -> None:
    """After a while it is said all the same; but not by a collector that ends."""
    monkeypatch.setattr(wiring, "_LOOKS", 2)
    listening, stop, ready = asyncio.Event(), asyncio.Event(), mock.Mock()
    listening.set()
    if is_stopped:
        stop.set()
    await wiring._say_once_reached(listening, mock.Mock(log_id=log_id), stop, ready)
    assert ready.call_count == words


async def test_a_log_that_comes_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends at once when told is not refused."""
    monkeypatch.setattr(wiring, "_LOOKS", 10**6)
    listening, ready, log = asyncio.Event(), mock.Mock(), mock.Mock(log_id="")
    listening.set()
    saying = asyncio.create_task(wiring._say_once_reached(listening, log, asyncio.Event(), ready))
    await asyncio.sleep(0.1)
    assert not ready.called
    log.log_id = "topic"
    await saying
    assert ready.call_count == 1
