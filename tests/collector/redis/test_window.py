"""The window that Redis keeps decides as the one in memory does, at any times and limits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import pytest
import redis as driver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.collector import limiting
from headrace.collector.limiting import Decision, SlidingWindow
from headrace.collector.redis import scripts
from headrace.collector.redis.gate import _decision
from tests.services.redis import RedisServer

EXACT_UP_TO: Final = limiting.EXACT_UP_TO
FEW: Final = 3
"""Where buckets begin here, so that a handful of requests reach them."""
TIME: Final = "local time = redis.call('TIME')"
MODEL: Final = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
MICROS: Final = st.one_of(
    st.integers(0, 200_000),
    st.integers(0, 61_000_000),
    st.sampled_from([0, 1, 59_999_998, 59_999_999, 60_000_000, 60_000_001, 60_100_000]),
)
numbers = itertools.count()


class Window:
    """The shipped script, except that its clock is told and buckets begin early."""

    def __init__(self, client: driver.Redis) -> None:
        source = scripts.ENTER.source.decode()
        assert source.count(TIME) == 1
        source = source.replace(TIME, "local time = {0, ARGV[8]}")
        source = source.replace(f"EXACT_UP_TO = {EXACT_UP_TO}", f"EXACT_UP_TO = {FEW}")
        self._script = client.register_script(source)
        self._key = f"window-{next(numbers)}"

    def ask(self, limit: int, now: int, *, take: bool) -> Decision:
        words: list[bytes | int] = [now // 1000, limit, int(take), 0, b"", 0, b"", now]
        return _decision(self._script(keys=[self._key, "epoch"], args=words), limit)


@pytest.fixture
def client(redis: RedisServer) -> Iterator[driver.Redis]:
    with driver.Redis.from_url(redis.url, db=1) as client:
        yield client


def steps(smallest: int, largest: int) -> st.SearchStrategy[list[tuple[int, int, bool]]]:
    """How long later, under which limit, and whether it is a request or only a look."""
    step = st.tuples(MICROS, st.integers(smallest, largest), st.sampled_from([True, True, False]))
    return st.lists(step, min_size=1, max_size=40)


def compare(client: driver.Redis, taken: list[tuple[int, int, bool]]) -> None:
    window, model, now = Window(client), SlidingWindow(), 1_774_000_000_000_000
    for later, limit, take in taken:
        now += later
        assert window.ask(limit, now, take=take) == model.ask(limit, now, take=take)


@given(steps(1, FEW))
@MODEL
def test_exact_windows_decide_alike(
    client: driver.Redis, taken: list[tuple[int, int, bool]]
) -> None:
    """To the microsecond, also while the limit changes."""
    compare(client, taken)


@given(steps(FEW + 1, FEW + 5))
@MODEL
def test_windows_of_buckets_decide_alike(
    client: driver.Redis, taken: list[tuple[int, int, bool]]
) -> None:
    """Above 10,000 a minute."""
    previous, limiting.EXACT_UP_TO = limiting.EXACT_UP_TO, FEW  # type: ignore[misc]  # a model of it
    try:
        compare(client, taken)
    finally:
        limiting.EXACT_UP_TO = previous  # type: ignore[misc]  # as it was


@given(steps(1, FEW + 5))
@MODEL
def test_never_one_too_many_while_a_limit_moves_between_the_two(
    client: driver.Redis, taken: list[tuple[int, int, bool]]
) -> None:
    """Exact entries and buckets lie in one list; whoever is let through found room."""
    window, passed, now = Window(client), list[int](), 1_774_000_000_000_000
    for later, limit, take in taken:
        now += later
        decision = window.ask(limit, now, take=take)
        in_window = sum(1 for moment in passed if now - moment < 59_999_999)
        if decision.allowed:
            assert in_window < limit
            if take:
                passed.append(now)
        elif limit <= FEW:
            now += decision.seconds * 1_000_000
            assert window.ask(limit, now, take=False).allowed


def test_a_clock_put_back_does_not_keep_anybody_waiting(client: driver.Redis) -> None:
    """By an hour: what was counted is forgotten, rather than an hour waited for."""
    window, now = Window(client), 1_774_000_000_000_000
    assert window.ask(1, now, take=True).allowed
    assert not window.ask(1, now - 500_000, take=True).allowed
    assert window.ask(1, now + 60_000_000, take=False).allowed
    assert window.ask(1, now + 59_900_000, take=True).allowed
    assert window.ask(1, now - 3_600_000_000, take=True).allowed
    assert not window.ask(1, now - 3_600_000_000, take=True).allowed


def test_a_window_is_bounded_and_expires(client: driver.Redis) -> None:
    """What has left it is dropped; what nobody asks for is forgotten."""
    window, now = Window(client), 1_774_000_000_000_000
    for second in range(200):
        window.ask(FEW, now + second * 1_000_000, take=True)
    assert client.llen(window._key) <= FEW + 1
    ttl = client.pttl(window._key)
    assert isinstance(ttl, int)
    assert 0 < ttl <= 65_000
