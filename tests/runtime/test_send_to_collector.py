"""`headrace send` to a real collector: what is repeated is known again, what is bad is told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.collector.app import CollectorParts, application, build_app
from headrace.eventlog.memory import MemoryLog
from headrace.runtime.clock import SystemClock
from headrace.runtime.commands.send import run
from headrace.schemas.records import EventValue
from headrace.workspaces.memory import MemoryDirectory
from headrace.workspaces.port import Scope
from tests.runtime.serving import serving

TIME = "2026-01-01T00:00:00Z"


class Place:
    """A collector on a free port, its log in memory, and a key."""

    def __init__(self, url: str, log: MemoryLog, directory: MemoryDirectory) -> None:
        self.url = url
        self.log = log
        self.directory = directory
        self.workspace = directory.create_workspace("tests", requests_per_minute=10_000)
        self.key = directory.create_key(self.workspace)

    def events(self) -> list[EventValue]:
        decode = msgspec.json.Decoder(EventValue).decode
        return [decode(record.value) for record in self.log.records()]

    def send(self, file: Path, **options: Any) -> int:
        return run(file, **({"url": self.url, "key": self.key} | options))


@pytest.fixture
def place() -> Iterator[Place]:
    clock = SystemClock()
    log, directory = MemoryLog(clock), MemoryDirectory(clock)
    parts = CollectorParts(log=log.appender(), directory=directory, clock=clock)
    with serving(application(build_app(parts).handler)) as url:
        yield Place(url, log, directory)


def write(path: Path, *events: dict[str, Any]) -> Path:
    path.write_bytes(b"".join(json.dumps(event).encode() + b"\n" for event in events))
    return path


def good(number: int, **more: Any) -> dict[str, Any]:
    return {"event": "e", "user_id": f"u{number}", "timestamp": TIME, **more}


def test_every_event_is_in_the_log_once_however_often_it_is_sent(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compressed or not, one request at a time or many."""
    file = write(tmp_path / "events", *map(good, range(2_300)))
    assert place.send(file) == 0
    assert place.send(file, compress=True, concurrency=1) == 0
    assert "2,300 of them had been taken before" in capsys.readouterr().out
    ids = Counter(event.user_id for event in place.events())
    assert set(ids.values()) == {1}
    assert len(ids) == 2_300


def test_what_the_collector_refuses_is_counted_by_its_reasons(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the line in the file, and the collector's own sentence."""
    bad: list[dict[str, Any]] = [
        {"timestamp": "soon"},
        {"user_id": 42},
        {"properties": []},
        {"event": "x" * 201},
    ]
    file = write(tmp_path / "events", good(1), *(good(2) | each for each in bad), good(3))
    assert place.send(file) == 3
    printed = capsys.readouterr().out
    assert all(f"line {number}: " in printed for number in ("2", "3, 4", "5"))
    assert all(code in printed for code in ("invalid_timestamp", "wrong_type", "too_long"))
    assert [event.user_id for event in place.events()] == ["u1", "u3"]


def test_properties_arrive_as_they_were_written(place: Place, tmp_path: Path) -> None:
    """Numbers, key order and escapes are the sender's."""
    properties = '{"n":12345678901234567890123,"f":1.50,"text":"\\u00e9"}'
    file = tmp_path / "events"
    file.write_text(f'{{"event":"e","user_id":"u","timestamp":"{TIME}","properties":{properties}}}')
    assert place.send(file) == 0
    [event] = place.events()
    assert bytes(event.properties) == properties.encode()


def test_lines_with_lone_surrogates_go_in(place: Place, tmp_path: Path) -> None:
    """As the collector takes them from JavaScript."""
    file = tmp_path / "events"
    file.write_text(f'{{"event":"a\\ud800","user_id":"u","timestamp":"{TIME}"}}')
    assert place.send(file) == 0
    assert [event.event for event in place.events()] == ["a\ufffd"]


@pytest.mark.parametrize("trouble", ["unknown", "revoked", "scope"])
def test_a_key_that_may_not_send_ends_with_a_hint(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str], trouble: str
) -> None:
    """What is wrong with it, and where to look."""
    keys = {
        "unknown": "hrk_unknown",
        "revoked": place.directory.create_key(place.workspace),
        "scope": place.directory.create_key(place.workspace, scopes=[Scope.QUERY]),
    }
    place.directory.revoke_key(keys["revoked"])
    file = write(tmp_path / "events", good(1))
    assert place.send(file, key=keys[trouble]) == 1
    assert "headrace keys" in capsys.readouterr().err
    assert place.events() == []


def test_large_events_are_spread_over_bodies_that_fit(place: Place, tmp_path: Path) -> None:
    """A thousand of them would be past the limit of a body."""
    text = "x" * 60_000
    file = write(tmp_path / "events", *(good(n, properties={"text": text}) for n in range(400)))
    assert place.send(file) == 0
    assert len(place.events()) == 400
