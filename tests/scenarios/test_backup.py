"""A backup of a node that works, and a node made of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.node import Node, post

pytestmark = pytest.mark.node

BATCH = "/v1/batch/events"


def batch(number: int) -> dict[str, Any]:
    """Ten events, one of which breaks its schema; every device becomes somebody."""
    return {
        "events": [
            {
                "event": "backed_up" if index else "paywall_viewed",
                "user_id": f"user {number}",
                "anonymous_id": f"device {number}",
                "timestamp": "2026-01-01T00:00:00Z",
                "properties": {"n": index} if index else {"paywall_id": 7},
            }
            for index in range(10)
        ]
    }


class Load(threading.Thread):
    """Batches, one after the other, until told to end; each with a key of its own."""

    def __init__(self, node: Node) -> None:
        super().__init__(daemon=True)
        self._node = node
        self._ending = threading.Event()
        self.sent = 0

    def run(self) -> None:
        key = self._node.credentials.api_key
        while not self._ending.is_set():
            url = self._node.url + BATCH
            answer = post(url, key, batch(self.sent), **{"Idempotency-Key": f"batch {self.sent}"})
            if answer.status_code == 200:
                self.sent += 1

    def end(self) -> int:
        self._ending.set()
        self.join(30)
        return self.sent


def restored(node: Node, file: Path, make_node: Callable[..., Node]) -> Node:
    """A node made of the file, on other ports."""
    other = make_node()
    made = other.run("restore", str(file))
    assert made.returncode == 0, made.stderr
    return other


def counts(node: Node) -> tuple[int, int, int, int]:
    """Rows stored and rejected, ids among them, people."""
    (found,) = node.rows(
        "SELECT (SELECT count() FROM events), (SELECT count() FROM rejected_events), "
        "(SELECT uniqExact(event_id) FROM events), (SELECT uniqExact(person_id) FROM events)"
    )
    return found


def test_a_node_made_of_a_backup_taken_under_load(
    node: Node, make_node: Callable[..., Node], tmp_path: Path
) -> None:
    """Every record that the backup's log holds is in a table once; retries find their keys."""
    load = Load(node)
    load.start()
    while load.sent < 30:
        load.join(0.05)
    before = load.sent
    file = tmp_path / "backups" / "headrace.tar"
    file.parent.mkdir()
    taken = node.run("backup", str(file))
    assert taken.returncode == 0, taken.stderr
    sent = load.end()
    assert sent > before, "nothing was sent meanwhile"
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert not any((node.home.store / "shadow").glob("headrace*"))
    node.stop()

    other = restored(node, file, make_node).start()
    other.until_settled()
    ledger = other.run("ledger")
    assert ledger.returncode == 0, ledger.stdout + ledger.stderr
    stored, rejected, ids, people = counts(other)
    assert stored == ids == 9 * people
    assert stored == 9 * rejected
    assert before <= people <= sent

    key = node.credentials.api_key
    again = post(other.url + BATCH, key, batch(0), **{"Idempotency-Key": "batch 0"})
    more = post(other.url + BATCH, key, batch(sent))
    assert (again.status_code, more.status_code) == (200, 200)
    assert again.headers["idempotent-replayed"] == "true"
    other.until_settled()
    assert counts(other)[0] == stored + 9
    assert other.run("ledger").returncode == 0


def test_a_node_that_does_not_run(
    node: Node, make_node: Callable[..., Node], tmp_path: Path
) -> None:
    """Read as it lies; a file that is there is not replaced, nor a HOME."""
    assert post(node.url + BATCH, node.credentials.api_key, batch(1)).status_code == 200
    node.until_settled()
    node.stop()
    file = tmp_path / "headrace.tar"
    assert node.run("backup", str(file)).returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600  # it opens every door that HOME opens
    assert "is there already" in node.run("backup", str(file)).stderr
    assert node.run("backup", str(file), "--force").returncode == 0
    assert "is not empty" in node.run("restore", str(file)).stderr
    other = restored(node, file, make_node).start()
    other.until_settled()
    assert counts(other) == (9, 1, 9, 1)


def test_a_damaged_backup_makes_no_home(
    node: Node, make_node: Callable[..., Node], tmp_path: Path
) -> None:
    """Cut short, one byte changed, or something else: said, and nothing is left of it."""
    node.stop()
    file = tmp_path / "headrace.tar"
    assert node.run("backup", str(file)).returncode == 0
    whole = file.read_bytes()
    at = whole.index(b"SQLite format 3") + 200
    damaged = [
        *(("whole", whole[: len(whole) * eighth // 8]) for eighth in range(8)),
        ("whole", whole[: len(whole) // 2 // 512 * 512]),
        ("is not as it was", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]),
        ("no backup", b"PK\x03\x04" + bytes(2_000)),
    ]
    other = make_node()
    for why, content in damaged:
        file.write_bytes(content)
        answer = other.run("restore", str(file))
        assert (answer.returncode, why in answer.stderr) == (1, True), answer.stderr
        assert not other.home.root.exists()
        assert [each.name for each in other.home.root.parent.iterdir()] == []


def test_a_home_of_a_newer_version_is_refused(node: Node, tmp_path: Path) -> None:
    """Whoever does not know its layout does not copy it."""
    node.stop()
    newer = node.home.version.read_text().replace('"layout":1', '"layout":2')
    node.home.version.write_text(newer)
    file = tmp_path / "headrace.tar"
    assert "layouts up to 1" in node.run("backup", str(file)).stderr
    assert not file.exists()
