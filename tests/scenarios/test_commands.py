"""The commands people use, against a node that runs."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.node import (
    HEADRACE,
    IN_FORCE_SECONDS,
    Node,
    post,
    until,
    until_in_force,
)

pytestmark = pytest.mark.node

TIME = "2026-01-01T00:00:00Z"
ROUNDS = 3
"""Of which one must do: what else a machine does may spoil some."""


def ok(node: Node, *arguments: str) -> str:
    done = node.run(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def status(node: Node, key: str, **event: Any) -> int:
    body = {"event": "e", "user_id": "u", "timestamp": TIME} | event
    body = {name: value for name, value in body.items() if value is not None}
    return post(f"{node.url}/v1/events", key, body).status_code


def test_keys_are_in_force_and_out_of_it_within_a_second(shared_node: Node) -> None:
    """Made, used, revoked, while the node runs."""
    ok(shared_node, "workspaces", "create", "acme", "--requests-per-minute", "600")
    found: list[tuple[int, int]] = []
    while (200, 401) not in found:
        assert len(found) < ROUNDS, found
        key = ok(shared_node, "keys", "create", "--workspace", "acme", "--scope", "ingest")
        time.sleep(IN_FORCE_SECONDS)
        made = status(shared_node, key)
        ok(shared_node, "keys", "revoke", key)
        time.sleep(IN_FORCE_SECONDS)
        found.append((made, status(shared_node, key)))


def test_a_key_shows_its_last_use_and_ends_with_its_expiry(shared_node: Node) -> None:
    """As `keys list` says; expired, it is refused."""
    ok(shared_node, "workspaces", "create", "briefly")
    soon = datetime.now(UTC) + timedelta(seconds=15)
    create = ["keys", "create", "--workspace", "briefly", "--expires", soon.isoformat()]
    key = ok(shared_node, *create)
    until_in_force(key, shared_node.url)
    assert status(shared_node, key) == 200

    def listed() -> dict[str, Any]:
        [found] = json.loads(ok(shared_node, "keys", "list", "--workspace", "briefly", "--json"))
        return dict(found)

    until(lambda: status(shared_node, key) == 401, "the key is refused", 30)
    assert datetime.now(UTC) >= soon
    assert listed()["state"] == "expired"
    until(lambda: listed()["last_used_at"], "the use is written down")


def test_a_limit_is_in_force_while_the_node_runs(shared_node: Node) -> None:
    """The headers say the new one."""
    ok(shared_node, "workspaces", "create", "limited")
    key = ok(shared_node, "keys", "create", "--workspace", "limited")
    ok(shared_node, "workspaces", "limit", "limited", "7")
    until_in_force(key, shared_node.url)

    def is_limited() -> bool:
        answer = post(f"{shared_node.url}/v1/events", key, {})
        return "7" in answer.headers["RateLimit-Policy"]

    until(is_limited, "the limit is in force")


def test_an_analyst_reads_its_own_workspace_and_no_other(shared_node: Node, tmp_path: Path) -> None:
    """Credentials are printed once, and work at once."""
    ok(shared_node, "workspaces", "create", "readers")
    key = ok(shared_node, "keys", "create", "--workspace", "readers")
    login = json.loads(ok(shared_node, "analysts", "create", "--workspace", "readers"))
    until_in_force(key, shared_node.url)
    assert status(shared_node, key, event="seen_by_readers") == 200
    assert status(shared_node, shared_node.credentials.api_key, event="not_theirs") == 200
    shared_node.until_settled()
    password = tmp_path / "password"
    password.write_text(login["password"])

    def seen() -> str:
        return ok(
            shared_node,
            *("query", "SELECT event FROM events", "--format", "TSV"),
            *("--user", login["user"], "--password-file", str(password)),
            *("--database", login["database"], "--url", login["url"]),
        )

    assert until(seen, "the event can be queried") == "seen_by_readers"
    listed = ok(shared_node, "analysts", "list")
    assert login["user"] in listed
    assert login["password"] not in listed


def test_an_analyst_made_while_nothing_runs_reads_once_the_node_does(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    """The start makes the views that could not be made before."""
    node = make_node().start()
    assert node.stop() == 0
    ok(node, "workspaces", "create", "later")
    key = ok(node, "keys", "create", "--workspace", "later")
    login = json.loads(ok(node, "analysts", "create", "--workspace", "later"))
    node.start()
    assert status(node, key, event="seen_later") == 200
    password = tmp_path / "password"
    password.write_text(login["password"])

    def seen() -> str:
        return ok(
            node,
            *("query", "SELECT event FROM events", "--format", "TSV"),
            *("--user", login["user"], "--password-file", str(password)),
            *("--database", login["database"]),
        )

    assert until(seen, "the event can be queried") == "seen_later"


def test_a_pair_is_unlinked_and_linked_again(shared_node: Node) -> None:
    """Events of the device belong to the user, then to the device, then to the user."""
    workspace, key = shared_node.workspace("linkers")
    assert status(shared_node, key, user_id="ann", anonymous_id="device_1") == 200
    assert status(shared_node, key, user_id=None, anonymous_id="device_1", event="anon") == 200

    def person() -> str | None:
        rows = shared_node.rows(
            "SELECT person_id FROM events WHERE workspace_id = {id:String} AND event = 'anon'",
            id=workspace.id,
        )
        return str(rows[0][0]) if rows else None

    pair = ["--workspace", "linkers", "--anonymous-id", "device_1", "--user-id", "ann"]
    until(lambda: person() == "ann", "the link counts")
    ok(shared_node, "identities", "unlink", *pair)
    until(lambda: person() == "device_1", "the link counts no more")
    ok(shared_node, "identities", "link", *pair)
    until(lambda: person() == "ann", "the link counts again")


def test_an_import_that_was_killed_is_completed_by_its_repeat(
    shared_node: Node, tmp_path: Path
) -> None:
    """`kill -9` in the middle, then the same file whole: every event is in the table once."""
    workspace, key = shared_node.workspace("importers")
    key_file, file = tmp_path / "key", tmp_path / "events.ndjson"
    key_file.write_text(key)
    users = [f"u{number}" for number in range(10_000)]
    lines = [json.dumps({"event": "e", "user_id": user, "timestamp": TIME}) for user in users]
    file.write_text("\n".join(lines))
    command = ["send", "--key-file", str(key_file), "--batch-size", "100"]

    def stored() -> list[str]:
        rows = shared_node.rows(
            "SELECT user_id FROM events WHERE workspace_id = {id:String}", id=workspace.id
        )
        return sorted(row[0] for row in rows)

    killed = subprocess.Popen(
        [HEADRACE, *command],
        env=shared_node.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert killed.stdin is not None
    killed.stdin.write("\n".join(lines[:6_000]).encode())
    killed.stdin.flush()
    until(lambda: len(stored()) > 1_000, "some events are stored")
    killed.kill()
    killed.communicate()
    assert len(stored()) < len(users)
    ok(shared_node, *command, str(file))
    until(lambda: len(stored()) >= len(users), "all events are stored")
    shared_node.until_settled()
    assert stored() == sorted(users)


def test_rejected_events_go_through_again_when_their_schema_is_mended(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    """Under their ids and times; what still breaks the schema is rejected again."""
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    write_schema(schemas, "number")
    node = make_node(HEADRACE_SCHEMAS=str(schemas)).start()
    file = tmp_path / "events.ndjson"
    file.write_text(
        "".join(
            json.dumps(
                {
                    "event": "sale",
                    "user_id": f"u{n}",
                    "timestamp": TIME,
                    "properties": {"price": price},
                }
            )
            + "\n"
            for n, price in enumerate([1, "2", "3", True])
        )
    )
    ok(node, "send", str(file))
    node.until_settled()
    found = json.loads(ok(node, "rejected", "list", "--json"))
    assert [(each["code"], each["count"]) for each in found["counts"]] == [("schema_violation", 3)]
    assert found["counts"][0]["path"] == "$.properties.price"
    before = node.rows("SELECT event_id, user_id, received_at FROM rejected_events")
    assert ok(node, "rejected", "replay", "--dry-run") == "default: 3 would be sent through again"

    node.stop()
    write_schema(schemas, ["number", "string"])
    node.start()
    done = node.run("rejected", "replay")
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].split() == ["3", "2", "1", "0", "0"]
    stored = node.rows("SELECT event_id, user_id, received_at FROM events")
    assert sorted(row for row in before if row[1] != "u3") == sorted(
        row for row in stored if row[1] != "u0"
    )
    left = json.loads(ok(node, "rejected", "list", "--json"))
    assert [each["count"] for each in left["counts"]] == [1]
    everything = json.loads(ok(node, "rejected", "list", "--json", "--all"))
    assert sum(each["count"] for each in everything["counts"]) == 3
    assert "revoked" in ok(node, "keys", "list")


def write_schema(folder: Path, kinds: str | list[str]) -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "sale",
        "title": "Sale",
        "description": "Something was sold.",
        "type": "object",
        "properties": {"price": {"type": kinds, "description": "Its price."}},
        "examples": [{"price": 1}],
    }
    (folder / "sale.json").write_text(json.dumps(schema))


def test_retention_is_said_and_changed(shared_node: Node) -> None:
    """For ever at first; nonsense changes nothing."""
    workspace, _ = shared_node.workspace("kept")

    def said(*days: str) -> str:
        answer = shared_node.run("workspaces", "retention", workspace.name, *days)
        return answer.stdout + answer.stderr

    assert "for ever" in said()
    assert "for 90 days" in said("90")
    for nonsense in ("0", "-1", "soon", "1.5", "999999999"):
        assert "no number of days" in said(nonsense), nonsense
    assert "for 90 days" in said()
    assert "for ever" in said("forever")
