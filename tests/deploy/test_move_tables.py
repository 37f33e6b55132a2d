"""The tables move from an embedded store to a server, by the commands of `docs/deploying.md`."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from headrace.runtime.credentials import read_processor_login
from tests.deploy.tools import ROOT
from tests.scenarios.node import HEADRACE, Node, nodes, post, until

pytestmark = pytest.mark.node

TABLES: Final = (
    "events_rows",
    "rejected_events_rows",
    "deduplicated_events_rows",
    "identity_links_rows",
    "identity_exclusions_rows",
)
QUESTIONS: Final = (
    "SELECT event_id, event, person_id, toString(timestamp), properties_raw FROM events ORDER BY 1",
    "SELECT event_id, code, properties_raw FROM rejected_events ORDER BY 1",
    "SELECT log_position, event_id FROM deduplicated_events ORDER BY 1",
)


def guide() -> tuple[str, str]:
    """The two commands: out of the embedded store, and into the server."""
    text = (ROOT / "docs" / "deploying.md").read_text()
    section = text[text.index("**Move the tables**") : text.index("## Collectors and processors")]
    assert all(f"`{table}`" in section for table in TABLES[1:])
    export, load = re.findall(r"```\n(.*?)```", section, re.DOTALL)
    return export, load


def shell(command: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a command of the guide as a person would."""
    command = command.replace("headrace query", f"{shlex.quote(HEADRACE)} query")
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Code:" not in done.stdout, done.stdout  # curl ends with 0 whatever a server answers


def event(name: str, properties: dict[str, object], **ids: str) -> dict[str, object]:
    return {"event": name, "timestamp": "2026-01-01T00:00:00Z", "properties": properties, **ids}


def fill(node: Node) -> None:
    """Something in every table but the one of duplicates, which often is empty."""
    workspace, key = node.workspace("moving")
    events = [
        event("seen", {"n": 1, "nested": {"list": [1, 2]}}, anonymous_id="d1"),
        event("signed_in", {"twice.a": 1, "twice": {"a": 2}}, anonymous_id="d1", user_id="u1"),
        event("seen", {}, anonymous_id="d2"),
        event("signed_in", {"ö": None}, anonymous_id="d2", user_id="u2"),
        event("app_opened", {"launch_type": 5}, user_id="u1"),
    ]
    url = f"{node.url}/v1/batch/events"
    for name in ("one", "two"):
        answer = post(url, key, {"events": events}, **{"Idempotency-Key": name})
        assert answer.json()["accepted"] == len(events), answer.text
    pair = ("--anonymous-id", "d2", "--user-id", "u2")
    done = node.run("identities", "unlink", "--workspace", workspace.name, *pair)
    assert done.returncode == 0, done.stderr
    node.until_settled()


def found(node: Node) -> list[list[tuple[Any, ...]]]:
    return [node.rows(question) for question in QUESTIONS]


def test_the_tables_move_by_the_commands_of_the_guide(tmp_path: Path) -> None:
    """Rows, rejects and who is whom are the same on the server, and the node goes on there."""
    export, load = guide()
    with nodes(tmp_path) as make_node:
        node = make_node().start()
        fill(node)
        for table in TABLES:
            shell(export.replace("events_rows", table), tmp_path, node.environment)
        before = found(node)
        counts = {name: node.rows(f"SELECT count() FROM headrace.{name}")[0][0] for name in TABLES}
        assert [name for name, count in counts.items() if not count] == ["deduplicated_events_rows"]
        assert node.stop() == 0

        server = make_node().start()
        node.environment["HEADRACE_CLICKHOUSE"] = server.as_server
        assert node.run("migrate").returncode == 0
        login = read_processor_login(server.home)
        load = load.replace("headrace:…", f"{login.user}:{login.password}")
        load = load.replace("https://clickhouse:8443", login.url)
        for table in TABLES:
            command = load.replace("events_rows", table).replace("events_\\\nrows", table)
            shell(command, tmp_path, node.environment)
        assert found(server) == before

        node.start()
        key = node.credentials.api_key
        sent = post(f"{node.url}/v1/events", key, event("later", {}, anonymous_id="d1"))
        rows = server.rows
        until(lambda: rows("SELECT 1 FROM events WHERE event = 'later'"), "the node goes on there")
        assert sent.status_code == 200
        assert node.stop() == 0
