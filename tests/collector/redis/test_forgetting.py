"""Answers that Redis keeps are emptied where they hold what must be forgotten."""

from __future__ import annotations

import pytest

from headrace.collector.idempotency import Replay
from headrace.collector.redis import forgetting
from headrace.collector.redis.forgetting import forget_answers
from headrace.schemas.errors import Unavailable
from tests.collector.redis.gates import Collectors, is_marked
from tests.services.ports import free_port

KEYS = [b"k%031d" % number for number in range(40)]


async def test_answers_are_emptied_and_their_keys_stay_used(
    collectors: Collectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next request with such a key is marked; others are answered as before."""
    monkeypatch.setattr(forgetting, "_AT_ONCE", 7)
    gate = await collectors.open()
    await collectors.send(gate, b"0" * 32)
    collectors.age()
    for key in KEYS:
        assert not is_marked(await collectors.send(gate, key))
    entry, _ = await collectors.come(gate, b"r" * 32)
    url = collectors.server.url
    assert await forget_answers(url, b"of somebody else") == 0
    assert isinstance(await collectors.send(gate, KEYS[0]), Replay)
    assert await forget_answers(url, b"b" * 32) == len(KEYS)
    await collectors.finish(gate, entry)
    assert isinstance(await collectors.send(gate, b"r" * 32), Replay)
    for key in KEYS:
        assert is_marked(await collectors.send(gate, key))
    assert isinstance(await collectors.send(gate, KEYS[0]), Replay)
    assert collectors.server.say("PTTL", "headrace:key:" + KEYS[0].decode()) != ":-1"


async def test_a_server_that_is_away_is_named() -> None:
    """Nothing was forgotten, so it is no success."""
    port = free_port()
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}"):
        await forget_answers(f"redis://127.0.0.1:{port}/0", b"x")
