"""`headrace check`: the settings and one event's way."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import pytest

from tests.scenarios.node import Node

pytestmark = pytest.mark.node


def test_every_step_of_a_healthy_node_is_ticked(shared_node: Node) -> None:
    """Settings with where they come from, versions, parts, every step; the exit code is 0."""
    done = shared_node.run("check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout
    assert done.stdout.count("✓") == 3 + 6
    assert "HEADRACE_LISTEN" in done.stdout
    assert "environment" in done.stdout
    for secret in (shared_node.credentials.api_key, shared_node.credentials.clickhouse.password):
        assert secret not in done.stdout


def test_it_leaves_other_workspaces_alone(shared_node: Node) -> None:
    """The event lies in a workspace of its own, and its key is revoked afterwards."""
    for _ in range(2):
        assert shared_node.run("check").returncode == 0
    default = shared_node.credentials.workspace_id
    found = shared_node.rows("SELECT DISTINCT workspace_id FROM events")
    assert found != []
    assert (default,) not in found
    keys = shared_node.run("keys", "list", "--workspace", "headrace-check")
    assert keys.stdout.count("revoked") >= 2, keys.stdout


def test_a_broken_step_is_marked(make_node: Callable[..., Node]) -> None:
    """With the collector frozen, the step that fails says what to do; the exit code is 1."""
    node = make_node().start()
    psutil.Process(node.pid("collector")).suspend()
    done = node.run("check")
    assert done.returncode == 1
    assert "✗ the collector lives" in done.stdout
    assert "headrace status" in done.stdout


def test_without_a_node_it_shows_the_settings(make_node: Callable[..., Node]) -> None:
    """And says how to go on."""
    done = make_node().run("check")
    assert done.returncode == 0
    assert "HEADRACE_STORE_LISTEN" in done.stdout
    assert "headrace up" in done.stdout
