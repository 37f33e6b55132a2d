"""The rate limit: never one too many in any 60 seconds, and never a lie about when to come back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.collector.limiting import EXACT_UP_TO, Limiter
from tests.collector.trial import GOOD, ONE, Trial, problem

pytestmark = pytest.mark.usefixtures("both_ways")

WINDOW = 60.0
BUCKET = 0.1
STEPS = st.lists(
    st.one_of(st.floats(0, 0.05), st.floats(0, 30), st.sampled_from([0.0, 1.0, 59.9, 60.0, 61.0])),
    min_size=1,
    max_size=60,
)


@given(STEPS, st.integers(1, 5))
def test_it_lets_through_what_a_list_of_all_requests_would(steps: list[float], limit: int) -> None:
    """The model keeps every request ever let through and counts those of the last 60 s."""
    limiter, passed, now = Limiter(), list[int](), 1_000.0
    for step in steps:
        now += step
        micros = int(now * 1_000_000)
        in_window = sum(1 for moment in passed if micros - moment < 59_999_999)
        decision = limiter.take("ws", limit, now)
        assert decision.allowed == (in_window < limit)
        assert decision.remaining == max(0, limit - in_window - decision.allowed)
        if decision.allowed:
            passed.append(micros)
        else:
            assert not limiter.take("ws", limit, now).allowed, "refused ones do not count"


@given(STEPS, st.integers(1, 4))
def test_after_retry_after_a_request_does_pass(steps: list[float], limit: int) -> None:
    """For whoever is refused: the same request that many whole seconds later is let through."""
    limiter, now = Limiter(), 12_345.678
    for step in steps:
        now += step
        decision = limiter.take("ws", limit, now)
        if not decision.allowed:
            assert 1 <= decision.seconds <= WINDOW
            now += decision.seconds
            assert limiter.take("ws", limit, now).allowed


@given(st.lists(st.floats(0, 0.3), min_size=1, max_size=200))
def test_buckets_never_let_more_through(steps: list[float]) -> None:
    """Above the exact range memory is bounded by buckets; the limit still holds everywhere."""
    limit = EXACT_UP_TO + 1
    limiter, passed, now = Limiter(), list[tuple[float, int]](), 500.0
    for step in steps:
        now += step
        count = 0
        while count < 400 and limiter.take("ws", limit, now).allowed:
            count += 1
        passed.append((now, count))
        in_window = sum(many for moment, many in passed if moment > now - WINDOW)
        assert in_window <= limit


def test_a_full_window_of_buckets_opens_again() -> None:
    """At most a bucket's length later than an exact count would."""
    limit = EXACT_UP_TO + 1
    limiter = Limiter()
    while limiter.take("ws", limit, 10.0).allowed:
        pass
    assert not limiter.take("ws", limit, 70.0).allowed
    assert limiter.take("ws", limit, 70.0 + BUCKET).allowed


def test_workspaces_do_not_share_a_limit() -> None:
    """One that is at its limit leaves the others alone."""
    limiter = Limiter()
    assert limiter.take("a", 1, 0.0).allowed
    assert not limiter.take("a", 1, 1.0).allowed
    assert limiter.take("b", 1, 1.0).allowed


def test_a_lowered_limit_says_when_enough_has_left() -> None:
    """Retry-After counts down to the request that makes room, not to the oldest."""
    limiter = Limiter()
    for second in range(10):
        limiter.take("ws", 100, float(second))
    decision = limiter.take("ws", 3, 10.0)
    assert (decision.allowed, decision.remaining) == (False, 0)
    assert limiter.take("ws", 3, 10.0 + decision.seconds).allowed
    assert decision.seconds == 57


def test_idle_workspaces_are_forgotten() -> None:
    """10,000 of them stay only as long as their windows do."""
    limiter = Limiter()
    for number in range(10_000):
        limiter.take(f"ws{number}", 100, 0.0)
    assert len(limiter) == 10_000
    for number in range(10_000):
        limiter.take("busy", 100_000, 61.0 + number / 1_000)
    assert len(limiter) == 1


async def test_every_answer_says_what_is_left(trial: Trial) -> None:
    """Successes, refused events and refused bodies alike, in the draft's form."""
    policy = '"default";q=10000;w=60'
    sends = [
        (GOOD, ONE, {}, 200),
        ({}, ONE, {}, 400),
        (b"x", ONE, {}, 400),
        (GOOD, ONE, {"content_type": "image/png"}, 415),
        (GOOD, ONE, {"idempotency_key": ""}, 400),
    ]
    for left, (body, path, headers, status) in enumerate(sends, start=1):
        answer = await trial.send(body, path, **headers)
        assert answer.status_code == status
        assert answer.headers["ratelimit-policy"] == policy
        assert answer.headers["ratelimit"] == f'"default";r={10_000 - left};t=60'
    async with trial.client(trial.admin_key()) as client:
        answer = await client.post(ONE)
    assert answer.status_code == 403
    assert answer.headers["ratelimit"] == '"default";r=9995;t=60'


async def test_the_limit_of_a_workspace_goes_before_the_default() -> None:
    """429 names the limit; after Retry-After the request passes."""
    trial = Trial()
    workspace = trial.directory.create_workspace("small", requests_per_minute=2)
    key = trial.directory.create_key(workspace)
    for _ in range(2):
        assert (await trial.send(GOOD, ONE, key=key)).status_code == 200
        trial.clock.advance(10)
    answer = await trial.send(GOOD, ONE, key=key)
    assert (answer.status_code, problem(answer)) == (429, "rate_limited")
    assert "2 requests in any 60 seconds" in answer.json()["message"]
    assert answer.headers["ratelimit"] == '"default";r=0;t=40'
    assert answer.headers["retry-after"] == "40"
    trial.clock.advance(40)
    assert (await trial.send(GOOD, ONE, key=key)).status_code == 200
    assert len(trial.log.records()) == 3


async def test_the_default_is_100_a_minute() -> None:
    """What the contract says, in any 60 seconds."""
    trial = Trial(requests_per_minute=100)
    statuses = [(await trial.send(GOOD, ONE)).status_code for _ in range(101)]
    assert statuses == [200] * 100 + [429]


async def test_a_dry_run_only_counts(trial: Trial) -> None:
    """The headers tell what would be left; nothing is refused."""
    workspace = trial.directory.create_workspace("dry", requests_per_minute=1, dry_run=True)
    key = trial.directory.create_key(workspace)
    answers = [await trial.send(GOOD, ONE, key=key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[2].headers["ratelimit"] == '"default";r=0;t=60'


@pytest.mark.parametrize("name", ["ratelimit", "ratelimit-policy"])
async def test_without_a_key_nothing_is_said_about_limits(trial: Trial, name: str) -> None:
    """Whose limit would it be?"""
    answer = await trial.send(GOOD, ONE, key="hrk_wrong")
    assert name not in answer.headers
    assert re.fullmatch(r"[\w-]+", answer.headers["x-request-id"])
