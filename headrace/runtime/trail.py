"""One event followed from HTTP to its row, step by step; what `headrace check` does.

Owns the steps and what each failure means for a person. The event is sent in a workspace of its
own, so that nobody's numbers change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

import httpx2
import msgspec

from headrace.runtime.clock import Clock
from headrace.runtime.node_state import collector_url
from headrace.runtime.reach import open_control, operator_login, verify_for
from headrace.runtime.settings import Settings
from headrace.runtime.store_reader import StoreReader
from headrace.schemas.errors import HeadraceError
from headrace.workspaces.errors import Unknown
from headrace.workspaces.port import Workspace

WORKSPACE: Final = "headrace-check"
EVENT: Final = "headrace_check"
_KEY_NAME: Final = "headrace check"
_KEY_LIFE: Final = timedelta(minutes=10)
_IN_FORCE_SECONDS: Final = 5.0
_IN_TABLE_SECONDS: Final = 15.0
_ANSWER_SECONDS: Final = 5.0


class Step(msgspec.Struct, frozen=True):
    """One step as it went: `trouble` is empty if it went well."""

    name: str
    seconds: float
    found: str = ""
    trouble: str = ""


class _Sent(msgspec.Struct, frozen=True):
    event_id: str


class _Row(msgspec.Struct, frozen=True):
    person_id: str


class Trail:
    """The steps in order; the first that fails is the last."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._url = collector_url(settings)
        self._key = ""
        self._workspace_id = ""
        self._event_id = ""

    def steps(self) -> Iterator[Step]:
        """Walk the trail; each step is yielded when it is done."""
        client = httpx2.Client(
            timeout=_ANSWER_SECONDS, verify=verify_for(self._settings, self._url), trust_env=False
        )
        with client, self._store() as store:
            todo: list[tuple[str, Callable[[], str]]] = [
                ("a key in control data", self._make_key),
                ("the collector lives", lambda: self._answers(client, "/livez")),
                ("the collector is ready", lambda: self._answers(client, "/readyz")),
                ("the store answers", lambda: self._engine(store)),
                ("the event is accepted", lambda: self._send(client)),
                ("the event is in its table", lambda: self._find(store)),
            ]
            try:
                for name, step in todo:
                    done = _timed(name, step)
                    yield done
                    if done.trouble:
                        return
            finally:
                self._revoke_key()

    def _store(self) -> StoreReader:
        return StoreReader(operator_login(self._settings), timeout_seconds=_ANSWER_SECONDS)

    def _make_key(self) -> str:
        with open_control(self._settings) as control:
            try:
                workspace: Workspace = control.find_workspace(WORKSPACE)
            except Unknown:
                workspace = control.create_workspace(WORKSPACE)
            self._workspace_id = workspace.id
            self._key = control.create_key(
                workspace, name=_KEY_NAME, expires_at=self._clock.now() + _KEY_LIFE
            )
        return f"workspace {WORKSPACE}"

    def _revoke_key(self) -> None:
        if self._key:
            with open_control(self._settings) as control:
                control.revoke_key(self._key)

    def _answers(self, client: httpx2.Client, path: str) -> str:
        response = _asked(lambda: client.get(self._url + path), self._url)
        if response.status_code != httpx2.codes.OK:
            raise HeadraceError(
                f"{self._url}{path} answered {response.status_code}: {response.text[:200]}"
            )
        return self._url

    def _engine(self, store: StoreReader) -> str:
        (row,) = store.rows("SELECT version() AS version", dict[str, str])
        return f"ClickHouse {row['version']}"

    def _send(self, client: httpx2.Client) -> str:
        event = {
            "event": EVENT,
            "user_id": "headrace",
            "timestamp": self._clock.now().isoformat(),
        }
        deadline = time.monotonic() + _IN_FORCE_SECONDS
        while True:
            response = _asked(
                lambda: client.post(
                    f"{self._url}/v1/events",
                    json=event,
                    headers={"Authorization": f"Bearer {self._key}"},
                ),
                self._url,
            )
            if response.status_code == httpx2.codes.OK:
                self._event_id = msgspec.json.decode(response.content, type=_Sent).event_id
                return self._event_id
            unknown_yet = response.status_code == httpx2.codes.UNAUTHORIZED
            if not unknown_yet or time.monotonic() > deadline:
                raise HeadraceError(
                    f"the collector answered {response.status_code}: {response.text[:300]}"
                )
            time.sleep(0.3)  # a new key is in force within a second

    def _find(self, store: StoreReader) -> str:
        deadline = time.monotonic() + _IN_TABLE_SECONDS
        while time.monotonic() < deadline:
            rows = store.rows(
                "SELECT person_id FROM events WHERE workspace_id = {workspace:String} "
                "AND event = {event:String} AND event_id = {id:String}",
                _Row,
                workspace=self._workspace_id,
                event=EVENT,
                id=self._event_id,
            )
            if rows:
                return f"{len(rows)} row, person {rows[0].person_id}"
            time.sleep(0.02)
        raise HeadraceError(
            f"{self._event_id} is not in `events` after {_IN_TABLE_SECONDS:.0f} s. It is safe in "
            "the log: see `headrace status` for the lag and the log file for what the processor "
            "says."
        )


def _timed(name: str, step: Callable[[], str]) -> Step:
    began = time.monotonic()
    try:
        found = step()
    except HeadraceError as error:
        return Step(name, time.monotonic() - began, trouble=str(error))
    return Step(name, time.monotonic() - began, found=found)


def _asked(ask: Callable[[], httpx2.Response], url: str) -> httpx2.Response:
    try:
        return ask()
    except httpx2.TransportError as error:
        raise HeadraceError(
            f"the collector at {url} cannot be reached ({error}); `headrace status` tells whether "
            "it runs"
        ) from error
