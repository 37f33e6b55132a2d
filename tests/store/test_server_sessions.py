"""Sessions: whose they are, how long they live, one request at a time."""

from __future__ import annotations

import pytest

from headrace.runtime.clock import ManualClock
from headrace.store.server.answers import Refusal
from headrace.store.server.protocol import Session
from headrace.store.server.sessions import Sessions

MINE = Session("mine", None, must_exist=False)


def make(clock: ManualClock | None = None) -> Sessions:
    return Sessions(clock or ManualClock(), seconds=60, most=2)


def test_a_session_is_found_again_by_its_user_alone() -> None:
    """The name alone is no key."""
    sessions = make()
    with sessions.enter("a", MINE) as state:
        state.settings["x"] = "1"
    with sessions.enter("a", MINE) as state:
        assert state.settings == {"x": "1"}
    with sessions.enter("b", MINE) as state:
        assert state.settings == {}


def test_a_session_ends_after_its_time() -> None:
    """The server's, or the one asked for, counted from the last request's end."""
    clock = ManualClock()
    sessions = make(clock)
    short = Session("short", 10, must_exist=False)
    for asked, seconds in ((MINE, 60), (short, 10)):
        with sessions.enter("a", asked) as state:
            state.settings["x"] = "1"
        clock.advance(seconds - 1)
        with sessions.enter("a", asked) as state:
            assert state.settings == {"x": "1"}
        clock.advance(seconds + 1)
        with sessions.enter("a", asked) as state:
            assert state.settings == {}


def test_one_request_at_a_time() -> None:
    """The second is told that the session is locked, and does not unlock it."""
    sessions = make()
    with sessions.enter("a", MINE):
        for _ in range(2):
            with pytest.raises(Refusal, match="locked"), sessions.enter("a", MINE):
                pass
    with sessions.enter("a", MINE):
        pass


def test_their_number_is_bounded() -> None:
    """Nobody can fill the memory with names."""
    sessions = make()
    for name in ("one", "two"):
        with sessions.enter("a", Session(name, None, must_exist=False)):
            pass
    with (
        pytest.raises(Refusal, match="Too many sessions"),
        sessions.enter("a", Session("three", None, must_exist=False)),
    ):
        pass


def test_without_a_session_nothing_is_kept() -> None:
    """Each request has a record of its own."""
    sessions = make()
    with sessions.enter("a", None) as state:
        state.settings["x"] = "1"
    with sessions.enter("a", None) as state:
        assert state.settings == {}


def test_a_session_that_must_exist() -> None:
    """Is not made."""
    with (
        pytest.raises(Refusal, match="not found"),
        make().enter("a", Session("x", None, must_exist=True)),
    ):
        pass
