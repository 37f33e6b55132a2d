"""Sessions: settings and a database that later requests of one user find again.

A session is a small record here and no state in the engine, so it cannot hold anything of
another user's. One request at a time may use it, as on the server (code 373).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from headrace.runtime.clock import Clock
from headrace.store.server.answers import Refusal
from headrace.store.server.protocol import Session as AskedSession


class SessionState:
    """What `SET` and `USE` left behind."""

    def __init__(self) -> None:
        self.settings: dict[str, str] = {}
        self.database: str | None = None
        self.busy = False
        self.expires = 0.0


class Sessions:
    """All sessions of the process. For one event loop."""

    def __init__(self, clock: Clock, *, seconds: float, most: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._states: dict[tuple[str, str], SessionState] = {}

    @contextlib.contextmanager
    def enter(self, user: str, asked: AskedSession | None) -> Iterator[SessionState]:
        """The session for one request; a passing one if none was asked for."""
        if asked is None:
            yield SessionState()
            return
        state = self._find(user, asked)
        state.busy = True
        try:
            yield state
        finally:
            state.busy = False
            state.expires = self._clock.monotonic() + (asked.seconds or self._seconds)

    def _find(self, user: str, asked: AskedSession) -> SessionState:
        self._forget_expired()
        state = self._states.get((user, asked.id))
        if state is None:
            if asked.must_exist:
                raise Refusal(372, "SESSION_NOT_FOUND", "Session not found or expired")
            if len(self._states) >= self._most:
                raise Refusal(
                    202,
                    "TOO_MANY_SIMULTANEOUS_QUERIES",
                    f"Too many sessions. Maximum: {self._most}",
                )
            state = self._states[user, asked.id] = SessionState()
        if state.busy:
            raise Refusal(373, "SESSION_IS_LOCKED", "Session is locked by a concurrent client")
        return state

    def _forget_expired(self) -> None:
        now = self._clock.monotonic()
        expired = [
            key for key, state in self._states.items() if not state.busy and state.expires < now
        ]
        for key in expired:
            del self._states[key]
