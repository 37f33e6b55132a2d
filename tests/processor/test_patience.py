"""Waiting for neighbours: how long, how loudly, and until when."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import pytest
import structlog
from structlog.testing import capture_logs

from headrace.processor.patience import Backoff, Patience, Revoked, Waits
from headrace.runtime.clock import ManualClock
from headrace.schemas.errors import HeadraceError, Overloaded, Refused, Unavailable

AT_ONCE = Backoff(first_seconds=0.0)


def patient(
    backoff: Backoff, revoked: asyncio.Event | None = None, waits: Waits | None = None
) -> Patience:
    """A worker's patience, of partition 3."""
    return Patience(revoked or asyncio.Event(), backoff, waits or Waits(ManualClock()), 3)


@pytest.mark.parametrize(
    ("tries", "shortest", "longest"),
    [(1, 1, 2), (2, 2, 4), (4, 8, 16), (5, 8, 16), (10_000, 8, 16)],
)
def test_waits_double_up_to_a_bound_and_are_spread(
    tries: int, shortest: float, longest: float
) -> None:
    """The jitter takes at most half of a wait away."""
    for jitter, expected in ((0.0, shortest), (1.0, longest)):
        backoff = Backoff(2, 16, jitter=partial(float, jitter))
        assert backoff.seconds(tries) == expected


@pytest.mark.parametrize(
    "error", [Unavailable("x"), Overloaded("x", retry_after=0.001), Refused("x")]
)
async def test_it_tries_until_it_succeeds(error: HeadraceError) -> None:
    """The attempt is told how many failed before it."""
    told = []

    async def attempt(tries: int) -> str:
        told.append(tries)
        if tries < 9:
            raise error
        return "done"

    patience = patient(AT_ONCE)
    assert await patience.insist("try", attempt) == "done"
    assert told == list(range(10))


@pytest.mark.parametrize(
    ("error", "levels"),
    [
        (Unavailable("gone"), ["warning", "info"]),
        (Overloaded("full", retry_after=0.0), ["warning", "info"]),
        (Refused("never"), ["error"] * 5 + ["info"]),
    ],
)
async def test_an_episode_is_logged_once_and_its_end(
    error: HeadraceError, levels: list[str]
) -> None:
    """What needs a person is said again, ever more rarely."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))

    async def attempt(tries: int) -> None:
        if tries < 30:
            raise error

    with capture_logs() as logs:
        await patient(AT_ONCE).insist("try", attempt)
    assert [line["log_level"] for line in logs] == levels


async def test_other_errors_are_not_waited_out() -> None:
    """A bug comes out at once."""

    async def attempt(_: int) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await patient(AT_ONCE).insist("try", attempt)


async def test_a_revocation_ends_the_longest_wait() -> None:
    """And nothing is tried after it."""
    revoked = asyncio.Event()
    tried = []

    async def attempt(tries: int) -> None:
        tried.append(tries)
        asyncio.get_running_loop().call_soon(revoked.set)
        raise Unavailable("gone")

    patience = patient(Backoff(3600, 3600), revoked)
    with pytest.raises(Revoked):
        await patience.insist("try", attempt)
    with pytest.raises(Revoked):
        await patience.insist("try", attempt)
    assert tried == [0]


async def test_what_is_waited_for_can_be_seen() -> None:
    """Since when, of which partition, and what trouble the last try had; then it is gone."""
    clock = ManualClock()
    waits = Waits(clock)
    seen = []

    async def attempt(tries: int) -> None:
        clock.advance(10)
        seconds, wait = waits.longest()
        assert wait is not None
        seen.append((seconds, wait.partition, wait.step, wait.trouble))
        if tries == 0:
            raise Unavailable("the store is away")

    await patient(AT_ONCE, waits=waits).insist("write", attempt)
    assert seen == [
        (10.0, 3, "write", "no answer yet"),
        (20.0, 3, "write", "the store is away"),
    ]
    assert waits.longest() == (0.0, None)


async def test_an_episode_in_which_the_trouble_changes_says_so() -> None:
    """The first trouble must not hide the one that stays; other numbers are no other trouble."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    troubles = ["gone", "committing 17: gone", "committing 18: gone", "full"]

    async def attempt(tries: int) -> None:
        if tries < len(troubles):
            raise Unavailable(troubles[tries])

    with capture_logs() as logs:
        await patient(AT_ONCE).insist("try", attempt)
    said = [line["error"] for line in logs if line["event"] == "waiting"]
    assert said == ["gone", "committing 17: gone", "full"]
