"""Whole files through a whole node: every event in the table once, every person found.

One file is what real mobile apps sent, where it is at hand; the other is made by the project.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.scenarios.node import Node

pytestmark = pytest.mark.node

CLICKSTREAM = (
    Path(__file__).resolve().parents[3] / "shared" / "data" / "clickstream_mobile.ndjson.gz"
)
QUERYABLE_SECONDS = 60.0
"""How soon they are is what `benchmarks/freshness.py` measures."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Sent(NamedTuple):
    """One line of a file: its ids, and what tells it from the others."""

    user: str | None
    device: str | None
    mark: str


def persons(events: list[Sent]) -> dict[str, str]:
    """Whose each event is: its own user, else its device's first user, else the device."""
    links: dict[str, str] = {}
    for event in events:
        if event.user and event.device:
            links.setdefault(event.device, event.user)
    return {
        event.mark: event.user or links.get(event.device or "", event.device or "")
        for event in events
    }


def turned(events: list[Sent]) -> set[str]:
    """Devices that sent without a user first and with one later."""
    anonymous: set[str] = set()
    known: set[str] = set()
    for event in events:
        if event.device and not event.user:
            anonymous.add(event.device)
        elif event.device and event.device in anonymous:
            known.add(event.device)
    return known


def until_persons(node: Node, mark: str, expected: dict[str, str]) -> None:
    """Fails if the events are not there, each its person's, in good time."""
    deadline = time.monotonic() + QUERYABLE_SECONDS
    while True:
        found = dict(node.rows(f"SELECT {mark}, person_id FROM events"))
        if found == expected:
            return
        strange = {each: found[each] for each in found if found[each] != expected.get(each)}
        assert time.monotonic() < deadline, (
            f"{len(found):,} of {len(expected):,} events are there, {len(strange):,} are not "
            f"their person's: {dict(islice(strange.items(), 3))}"
        )
        time.sleep(0.1)


def check_import(node: Node, file: Path, mapping: list[str], events: list[Sent], mark: str) -> None:
    """Send a file, find every event and person, send it again, find nothing new."""
    command = ["send", str(file), *mapping]
    sent = node.run(*command)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert f"{len(events):,}" in accepted(sent.stdout)
    until_persons(node, mark, persons(events))
    count = node.rows("SELECT uniqExact(event_id) FROM events")
    assert count == [(len(events),)]

    again = node.run(*command, "--concurrency", "2")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{len(events):,} of them had been taken before" in again.stdout
    node.until_settled()
    assert node.rows("SELECT count(), uniqExact(event_id) FROM events") == [
        (len(events), len(events))
    ]


def accepted(summary: str) -> str:
    return next(line for line in summary.splitlines() if line.startswith("accepted"))


@pytest.mark.skipif(not CLICKSTREAM.exists(), reason="the recorded clickstream is not at hand")
def test_a_recorded_clickstream(node: Node) -> None:
    """14,376 events of 23 installations, 5 of which turn from anonymous to known."""
    events = list(recorded())
    assert len(events) == 14_376
    changed = turned(events)
    assert len(changed) == 5
    check_import(node, CLICKSTREAM, MAPPING, events, "JSONExtractString(properties_raw, 'id')")
    for device in changed:
        [found] = node.rows(
            "SELECT uniqExact(person_id), any(person_id), any(user_id) FROM events "
            "WHERE anonymous_id = {device:String}",
            device=device,
        )
        assert found[0] == 1


MAPPING = [
    *("--event", "type", "--timestamp", "timestamp", "--properties", "."),
    *("--user-id", "attribute.user_id", "--anonymous-id", "attribute.installation_id"),
]


def recorded() -> Iterator[Sent]:
    with gzip.open(CLICKSTREAM) as lines:
        for line in lines:
            event: dict[str, Any] = json.loads(line)
            ids = event["attribute"]
            yield Sent(ids.get("user_id"), ids.get("installation_id"), event["id"])


def test_a_file_the_project_makes(node: Node, tmp_path: Path) -> None:
    """People who come without a name and sign up are one person, before and after."""
    made = node.run("sample", "5000")
    assert made.returncode == 0, made.stderr
    file = tmp_path / "sample.ndjson"
    file.write_text(made.stdout)
    events = [
        Sent(event.get("user_id"), event["anonymous_id"], microseconds(event["timestamp"]))
        for event in map(json.loads, made.stdout.splitlines())
    ]
    assert turned(events)
    check_import(node, file, [], events, "toString(toUnixTimestamp64Micro(timestamp))")


def microseconds(text: str) -> str:
    """No two events of a sample have the same."""
    return str((datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1))
