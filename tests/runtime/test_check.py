"""`headrace check`: the settings and one event's way."""

from __future__ import annotations

import re
from collections.abc import Callable

import psutil
import pytest

from headrace.runtime.credentials import read_processor_login
from tests.runtime.test_servers import own_topic
from tests.scenarios.node import Node
from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer
from tests.services.redis import RedisServer

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


def test_it_says_what_it_found_at_each_server(
    make_node: Callable[..., Node],
    kafka: KafkaServer,
    redis: RedisServer,
    postgres: PostgresServer,
) -> None:
    """A line for each part, with the server's version."""
    server = make_node().start()
    node = make_node(
        **own_topic(kafka),
        HEADRACE_REDIS=redis.url,
        HEADRACE_DATABASE=postgres.make_database(),
        HEADRACE_CLICKHOUSE=server.as_server,
    )
    assert node.run("migrate").returncode == 0
    done = node.run("check")
    for found in (
        r"✓ control data +PostgreSQL \d+",
        r"✓ log +Kafka 4\.\d",
        r"✓ store +ClickHouse \d+\.\d+",
        r"✓ \S.*Redis \d+\.\d+",
    ):
        assert re.search(found, done.stdout), done.stdout
    assert read_processor_login(server.home).password not in done.stdout


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("HEADRACE_KAFKA", "127.0.0.1:1", "Kafka at 127.0.0.1:1 cannot be reached"),
        ("HEADRACE_REDIS", "redis://127.0.0.1:1", "Redis at redis://127.0.0.1:1/0 cannot be used"),
        ("HEADRACE_DATABASE", "postgresql://u:secret@127.0.0.1:1/d", "Connection refused"),
        ("HEADRACE_CLICKHOUSE", "http://u:secret@127.0.0.1:1/d", "127.0.0.1:1"),
    ],
)
def test_a_server_that_is_away_is_told(
    make_node: Callable[..., Node], variable: str, value: str, told: str
) -> None:
    """It is marked, with the reason and without its password; the exit code is 1."""
    done = make_node(**{variable: value}).run("check")
    assert done.returncode == 1
    marked = done.stdout[done.stdout.index("✗") :]
    assert told in " ".join(marked.split()), done.stdout
    assert "secret" not in done.stdout + done.stderr
