"""`headrace status`: what runs, since when, how far behind, how much disk."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import pytest

from tests.scenarios.node import PROCESSES, Node, post

pytestmark = pytest.mark.node


def test_a_running_node_is_described(shared_node: Node) -> None:
    """Pids, restarts, lag, rows and disk, as JSON for programs."""
    event = {"event": "counted", "user_id": "u", "timestamp": "2026-01-01T00:00:00Z"}
    post(f"{shared_node.url}/v1/events", shared_node.credentials.api_key, event)
    shared_node.until_settled()
    done = shared_node.run("status", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert report["running"] is True
    assert report["pid"] == shared_node.state.pid
    assert report["collector_url"] == shared_node.url
    assert {each["name"]: each["pid"] for each in report["processes"]} == shared_node.pids()
    assert report["log"]["lag_records"] == 0
    assert report["log"]["settled_position"] == report["log"]["next_position"] >= 1
    assert report["rows"]["events"] >= 1
    assert report["disk"]["store_bytes"] > 0


def test_a_running_node_is_shown(shared_node: Node) -> None:
    """The same as a table for people."""
    done = shared_node.run("status")
    assert done.returncode == 0
    assert "running" in done.stdout
    for expected in (*PROCESSES, "lag", "disk free", "events"):
        assert expected in done.stdout


def test_a_collector_that_would_take_nothing_is_told(shared_node: Node) -> None:
    """Though it was ready once: it is asked."""
    pid = shared_node.pids()["collector"]
    assert pid is not None
    assert "not ready" not in shared_node.run("status").stdout
    os.kill(pid, signal.SIGSTOP)
    try:
        done = shared_node.run("status")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "not ready (it does not answer)" in done.stdout


def test_a_node_that_does_not_run_says_so(make_node: Callable[..., Node]) -> None:
    """Before the first start and after the end, with an exit code of its own."""
    node = make_node()
    done = node.run("status")
    assert (done.returncode, "not running" in done.stdout) == (3, True)
    node.start().stop()
    done = node.run("status", "--json")
    assert done.returncode == 3
    report = json.loads(done.stdout)
    assert report["running"] is False
    assert report["processes"] == []
    assert report["log"]["lag_records"] == 0
