"""`headrace rejected list`, and what of it would be replayed, over a real store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime.clock import SystemClock
from headrace.runtime.commands.rejected import list_, replay
from headrace.runtime.home import Home
from headrace.runtime.reach import operator_login, settings_for
from headrace.runtime.rejects import Wanted, fates, rejected_events
from headrace.runtime.replaying import Replay
from headrace.runtime.store_reader import StoreReader
from headrace.schemas.errors import HeadraceError
from headrace.store.migrate import migrate
from headrace.workspaces.database import ControlData
from tests.runtime.homes import make_home, point_home_at
from tests.runtime.serving import ScriptedCollector, serving, trouble
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

UNREADABLE = {"event_id": "", "event": "", "timestamp": None, "received_at": None}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("store") / "data") as server:
        migrate(server.url, PROCESSOR, PASSWORD)
        yield server


class Place:
    """HOME with workspaces of its own, over a store that other tests use too."""

    def __init__(self, home: Path, server: StoreServer) -> None:
        self.home = point_home_at(make_home(home), server)
        self.server = server
        control = ControlData.open(Home(home).control_url)
        self.workspace_id = control.find_workspace("default").id
        self.other_id = control.create_workspace("acme").id
        control.close()
        self.position = 0
        # Of this test: the command's clock goes on while others run.
        self.now = datetime.now(UTC).replace(microsecond=123456)

    def id(self, number: int) -> str:
        return f"evt_{self.workspace_id[3:]}{number:010d}"

    def insert(self, table: str, row: dict[str, Any]) -> None:
        client = self.server.client(PROCESSOR)
        client.insert(table, [list(row.values())], list(row))
        client.close()

    def reject(self, number: int, **more: Any) -> None:
        """A row of rejected_events; the number tells the event."""
        self.position += 1
        row = {
            "workspace_id": self.workspace_id,
            "event_id": self.id(number),
            "event": "sale",
            "user_id": "u",
            "anonymous_id": "",
            "timestamp": self.now,
            "received_at": self.now + timedelta(seconds=number),
            "properties_raw": '{"price":"9.99"}',
            "code": "schema_violation",
            "reason": 'expected number, got the string "9.99"',
            "path": "$.properties.price",
            "schema": "sale",
            "raw": "{}",
            "log_id": self.workspace_id,
            "log_partition": 0,
            "log_position": self.position,
        }
        self.insert("rejected_events_rows", row | more)

    def store(self, number: int) -> None:
        """The same event, stored after all."""
        self.position += 1
        row = {
            "workspace_id": self.workspace_id,
            "event_id": self.id(number),
            "event": "sale",
            "timestamp": self.now,
            "received_at": self.now + timedelta(seconds=number),
            "properties_raw": "{}",
            "log_id": self.workspace_id,
            "log_partition": 0,
            "log_position": self.position,
        }
        self.insert("events_rows", row)


@pytest.fixture
def place(tmp_path: Path, server: StoreServer) -> Place:
    return Place(tmp_path / "home", server)


def listed(place: Place, capsys: pytest.CaptureFixture[str], **options: Any) -> Any:
    list_(workspace="default", json=True, home=place.home, **options)
    return json.loads(capsys.readouterr().out)


def ids(found: Any) -> list[str]:
    return [each["event_id"] for each in found["examples"]]


def test_events_are_counted_by_cause(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """With one reason in full for each, the commonest first."""
    place.reject(1, event="refund", path="$.properties.amount")
    place.reject(2)
    place.reject(3)
    counts = listed(place, capsys)["counts"]
    assert [(each["event"], each["path"], each["count"]) for each in counts] == [
        ("sale", "$.properties.price", 2),
        ("refund", "$.properties.amount", 1),
    ]
    assert counts[0]["reason"] == 'expected number, got the string "9.99"'


def test_an_event_rejected_again_is_one_event(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """However often it was replayed in vain; unreadable records are each their own."""
    place.reject(1)
    place.reject(1)
    place.reject(0, code="unreadable_record", **UNREADABLE)
    place.reject(0, code="unreadable_record", **UNREADABLE)
    counts = {each["code"]: each["count"] for each in listed(place, capsys)["counts"]}
    assert counts == {"schema_violation": 1, "unreadable_record": 2}


def test_what_a_replay_stored_is_no_longer_shown(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless everything is asked for."""
    place.reject(1)
    place.reject(2)
    place.store(1)
    assert ids(listed(place, capsys)) == [place.id(2)]
    found = listed(place, capsys, all=True)
    assert ids(found) == [place.id(2), place.id(1)]
    assert [each["replayed"] for each in found["examples"]] == [False, True]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"code": "refused_by_store"}, [3]),
        ({"event": "refund"}, [2]),
        ({}, [3, 2, 1]),
        ({"limit": 1}, [3]),
        ({"code": "nothing"}, []),
    ],
)
def test_the_list_is_narrowed(
    place: Place,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
    numbers: list[int],
) -> None:
    """By code, type and number, and by how long ago it was."""
    place.reject(1)
    place.reject(2, event="refund")
    place.reject(3, code="refused_by_store")
    place.reject(4, received_at=place.now - timedelta(hours=5), event="old", code="old")
    options = {"since": "1h"} | options
    assert ids(listed(place, capsys, **options)) == [place.id(number) for number in numbers]


def test_the_list_begins_at_a_time(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """That moment included."""
    for number in (1, 2, 3):
        place.reject(number)
    since = (place.now + timedelta(seconds=2)).isoformat()
    assert ids(listed(place, capsys, since=since)) == [place.id(3), place.id(2)]


def test_the_table_names_workspaces_and_reasons(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Causes above, examples below."""
    place.reject(1)
    list_(workspace="default", home=place.home)
    printed = capsys.readouterr().out
    assert "default" in printed
    assert 'got the string "9.99"' in printed
    assert place.id(1) in printed


def test_nothing_rejected_is_said(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty table would leave one wondering."""
    list_(workspace="acme", home=place.home)
    assert "No rejected events." in capsys.readouterr().err


def test_a_dry_run_counts_and_sends_nothing(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """By workspace; what cannot be read is said to stay."""
    place.reject(1)
    place.reject(2)
    place.reject(0, code="unreadable_record", **UNREADABLE)
    place.reject(3, workspace_id=place.other_id)
    for name, expected in (("default", 2), ("acme", 1)):
        assert replay(workspace=name, dry_run=True, home=place.home) == 0
        printed = capsys.readouterr()
        assert printed.out == f"{name}: {expected} would be sent through again\n"
        assert ("1 unreadable records" in printed.err) == (name == "default")
    assert replay(id=[place.id(2)], dry_run=True, home=place.home) == 0
    assert "default: 1 " in capsys.readouterr().out


def test_rejected_events_come_whole(place: Place) -> None:
    """Times to the microsecond, properties to the byte, each event once, oldest first."""
    raw = '{"n":12345678901234567890123, "text":"\\u00e9/é"}'
    place.reject(2)
    place.reject(1, properties_raw=raw)
    place.reject(1, properties_raw=raw)
    with StoreReader(operator_login(settings_for(place.home))) as store:
        wanted = Wanted(workspace_id=place.workspace_id)
        found = list(rejected_events(store, wanted, 10))
        states = fates(store, place.workspace_id, [place.id(1), place.id(2)])
    assert [event.event_id for event in found] == [place.id(1), place.id(2)]
    assert found[0].properties_raw == raw
    assert datetime.fromisoformat(found[0].timestamp) == place.now
    assert datetime.fromisoformat(found[0].received_at) == place.now + timedelta(seconds=1)
    assert {each: fate.rows for each, fate in states.items()} == {place.id(1): 2, place.id(2): 1}


def test_a_collector_that_does_not_know_the_new_key_yet_is_asked_again(place: Place) -> None:
    """On a busy machine it may come to it later than within the second that is promised."""
    place.reject(1)
    collector = ScriptedCollector(trouble(401, "invalid_key"))
    with (
        serving(collector.app) as url,
        closing(ControlData.open(Home(place.home).control_url)) as control,
        StoreReader(operator_login(settings_for(place.home))) as store,
    ):
        run = Replay(control, store, url, SystemClock())
        wanted = Wanted(workspace_id=place.workspace_id)
        workspace = control.find_workspace("default")
        run.send(rejected_events(store, wanted, 10), {workspace.id: workspace})
    assert [event["event_id"] for event in collector.events] == [place.id(1)]
    assert (run.result.sent, run.result.refused) == (1, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": ["x' OR 1"]}, "is no event id"),
        ({"since": "soon"}, "is no time"),
        ({"workspace": "nobody"}, "there is no workspace 'nobody'"),
    ],
)
def test_what_cannot_be_meant_is_told(place: Place, options: dict[str, Any], message: str) -> None:
    """Before the store is asked."""
    with pytest.raises(HeadraceError, match=message):
        replay(home=place.home, dry_run=True, **options)
