"""Erasing a person on a node that works."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from headrace.eventlog.sqlite.layout import open_reader
from tests.scenarios.node import Node, post, until

pytestmark = pytest.mark.node

AT = "2026-01-01T00:00:00Z"


def send(node: Node, *events: dict[str, Any]) -> None:
    body = {"events": [{"timestamp": AT, **event} for event in events]}
    answer = post(node.url + "/v1/batch/events", node.credentials.api_key, body)
    assert answer.status_code == 200, answer.text
    node.until_settled()


def send_keyed(node: Node) -> Any:
    """A retry is answered alike; the refusal quotes the person."""
    body = {"events": [{"event": "of ann-7f3a", "timestamp": "of ann-7f3a", "user_id": "ann-7f3a"}]}
    answer = post(
        node.url + "/v1/batch/events",
        node.credentials.api_key,
        body,
        **{"Idempotency-Key": "one"},
    )
    assert answer.json()["errors"]
    return answer.json()


def values_kept(node: Node) -> list[bytes]:
    """What is kept under idempotency keys."""
    with contextlib.closing(open_reader(node.home.log)) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM keys")]


def everywhere(node: Node, text: str) -> list[str]:
    """The tables of ours that hold the text anywhere."""
    tables = node.rows(
        "SELECT name FROM system.tables WHERE database = 'headrace' AND engine LIKE '%MergeTree'"
    )
    return [
        name
        for (name,) in tables
        if node.rows(
            f"SELECT count() FROM headrace.{name} WHERE position(toString(tuple(*)), '{text}') > 0"
        )
        != [(0,)]
    ]


def test_an_erased_person_stays_erased(node: Node) -> None:
    """Out of every table, and out again when they are imported; the ledger adds up."""
    own = {"event": "visited", "properties": {"note": "of ann-7f3a"}}
    send(
        node,
        {**own, "anonymous_id": "phone-ann-7f3a"},
        {**own, "anonymous_id": "phone-ann-7f3a", "user_id": "ann-7f3a"},
        {**own, "event": "paywall_viewed", "user_id": "ann-7f3a"},
        {"event": "visited", "user_id": "bob", "anonymous_id": "laptop"},
    )
    until(
        lambda: node.rows("SELECT count() FROM events WHERE person_id = 'ann-7f3a'") != [(0,)],
        "the link counts",
    )
    assert "events_rows" in everywhere(node, "ann-7f3a")
    kept = send_keyed(node)
    assert [b"of ann-7f3a" in value for value in values_kept(node)] == [True]
    asked = node.run("erase", "--workspace", "default", "--user", "ann-7f3a")
    assert (asked.returncode, "--yes" in asked.stderr) == (1, True)
    done = node.run("erase", "--workspace", "default", "--user", "ann-7f3a", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    assert receipt["events"] + receipt["rejected"] == 3
    assert (receipt["devices"], receipt["links"]) == (1, 1)
    assert everywhere(node, "ann-7f3a") == []
    assert receipt["idempotency_records"] == 1
    assert values_kept(node) == [b""]
    assert send_keyed(node) == kept

    send(
        node,
        {**own, "anonymous_id": "phone-ann-7f3a"},
        {**own, "user_id": "ann-7f3a"},
        {"event": "visited", "user_id": "bob", "anonymous_id": "phone-ann-7f3a"},
    )
    assert everywhere(node, "of ann-7f3a") == []
    assert node.rows("SELECT person_id, count() FROM events GROUP BY 1") == [("bob", 2)]
    codes = node.rows("SELECT code, count() FROM rejected_events GROUP BY 1")
    assert codes == [("erased", 5)]
    ledger = node.run("ledger")
    assert ledger.returncode == 0, ledger.stdout
    mistyped = node.run("erase", "--workspace", "default", "--user", "an-7f3a", "--yes")
    assert "Nobody of that id was found" in mistyped.stderr
