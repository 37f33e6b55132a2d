"""A node whose parts are servers: each setting alone, and all that stays embedded around it."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.scenarios.node import HEADRACE, Node, post, until
from tests.services.kafka import CERTIFICATE, PASSWORD, USERNAME, KafkaServer
from tests.services.ports import free_port
from tests.services.postgres import PostgresServer
from tests.services.redis import RedisServer

pytestmark = pytest.mark.node

MakeNode = Callable[..., Node]


def event(number: int = 0) -> dict[str, object]:
    return {"event": "sent", "user_id": f"u{number}", "timestamp": "2026-01-01T00:00:00Z"}


def check_way(node: Node) -> None:
    """Events go in, are rows, and the node's own commands find nothing wrong."""
    ids = set()
    for number in range(3):
        answer = post(f"{node.url}/v1/events", node.credentials.api_key, event(number))
        assert answer.status_code == 200, answer.text
        ids.add(answer.json()["event_id"])

    def found() -> bool:
        rows = node.rows("SELECT event_id FROM events WHERE event = 'sent'")
        return sorted(rows) == sorted((each,) for each in ids)

    until(found, "every event is a row, once")
    done = node.run("check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert node.run("status").returncode == 0
    assert node.stop() == 0


def own_topic(kafka: KafkaServer, **more: str) -> dict[str, str]:
    """A topic and a group of a test's own, on the broker that tests share."""
    name = f"node-{uuid.uuid4().hex[:12]}"
    return {
        "HEADRACE_KAFKA": kafka.bootstrap,
        "HEADRACE_KAFKA_TOPIC": name,
        "HEADRACE_KAFKA_GROUP": name,
        "HEADRACE_KAFKA_PARTITIONS": "3",
        **more,
    }


def test_with_kafka_alone(make_node: MakeNode, kafka: KafkaServer) -> None:
    """The log is a topic that `up` makes; everything else stays in HOME."""
    node = make_node(**own_topic(kafka)).start()
    assert post_ready(node), "the node said that it is ready"
    report = json.loads(node.run("status", "--json").stdout)
    assert report["log"]["partitions"] == 3
    assert not node.home.log.exists()
    assert "Kafka 4" in node.run("check").stdout
    check_way(node)


def test_with_a_kafka_that_asks_who_comes(make_node: MakeNode, tmp_path: Path) -> None:
    """By a login over TLS, or by a client's certificate; without one `check` says what is wrong."""
    asking = {
        "listener.name.ssl.ssl.client.auth": "required",
        "listener.name.ssl.ssl.truststore.type": "PEM",
        "listener.name.ssl.ssl.truststore.location": str(CERTIFICATE),
    }
    (tmp_path / "kafka").mkdir()
    with KafkaServer(tmp_path / "kafka", asking) as kafka:
        login = {
            "HEADRACE_KAFKA": kafka.address("SASL_SSL"),
            "HEADRACE_KAFKA_SECURITY": "sasl_ssl",
            "HEADRACE_KAFKA_SASL_MECHANISM": "scram-sha-512",
            "HEADRACE_KAFKA_USERNAME": USERNAME,
            "HEADRACE_KAFKA_PASSWORD": PASSWORD,
            "HEADRACE_KAFKA_TLS_CA": str(CERTIFICATE),
        }
        done = make_node(**own_topic(kafka, **login)).run("migrate")
        assert done.returncode == 0, done.stdout + done.stderr
        nobody = {
            "HEADRACE_KAFKA": kafka.address("SSL"),
            "HEADRACE_KAFKA_SECURITY": "ssl",
            "HEADRACE_KAFKA_TLS_CA": str(CERTIFICATE),
        }
        certificate = {
            "HEADRACE_KAFKA_TLS_CERTIFICATE": str(CERTIFICATE),
            "HEADRACE_KAFKA_TLS_KEY": str(CERTIFICATE),
        }
        done = make_node(**own_topic(kafka, **nobody)).run("check")
        assert done.returncode == 1
        assert "a client's certificate" in " ".join(done.stdout.split())
        check_way(make_node(**own_topic(kafka, **nobody, **certificate)).start())


def post_ready(node: Node) -> bool:
    return is_ready(node.url)


def is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz").status_code == 200
    except httpx2.TransportError:
        return False


def test_with_redis_alone(make_node: MakeNode, redis: RedisServer) -> None:
    """Limits and keys are in Redis, the log in HOME; a retry is answered from Redis."""
    node = make_node(HEADRACE_REDIS=redis.url).start()
    key = {"Idempotency-Key": uuid.uuid4().hex}
    url = f"{node.url}/v1/events"
    answers: list[httpx2.Response] = []

    def is_replayed() -> bool:
        answers.append(post(url, node.credentials.api_key, event() | {"event": "keyed"}, **key))
        assert answers[-1].status_code == 200, answers[-1].text
        assert answers[-1].json() == answers[0].json()
        return answers[-1].headers.get("idempotent-replayed") == "true"

    until(is_replayed, "an answer is Redis's")  # which has 50 ms, also on a busy machine
    assert len(answers) > 1
    assert "Redis" in node.run("check").stdout
    check_way(node)


def test_with_postgresql_alone(make_node: MakeNode, postgres: PostgresServer) -> None:
    """Control data is in PostgreSQL; commands change it there."""
    node = make_node(HEADRACE_DATABASE=postgres.make_database()).start()
    assert not node.home.control.exists()
    assert node.run("workspaces", "create", "another").returncode == 0
    assert "another" in node.run("workspaces", "list").stdout
    assert "PostgreSQL" in node.run("check").stdout
    check_way(node)


def test_with_clickhouse_alone(make_node: MakeNode) -> None:
    """The tables are on a server; the node has a log and control data of its own."""
    server = make_node().start()
    node = make_node(HEADRACE_CLICKHOUSE=server.as_server).start()
    assert set(node.pids()) == {"collector", "processor"}
    assert not node.home.store.exists()
    answer = post(f"{node.url}/v1/events", node.credentials.api_key, event())
    assert answer.status_code == 200
    until(
        lambda: server.rows("SELECT event_id FROM events") == [(answer.json()["event_id"],)],
        "the event is a row on the server",
    )
    done = node.run("check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert node.stop() == 0


def test_with_all_but_the_store(
    make_node: MakeNode, kafka: KafkaServer, redis: RedisServer, postgres: PostgresServer
) -> None:
    """Kafka, Redis and PostgreSQL together."""
    node = make_node(
        **own_topic(kafka), HEADRACE_REDIS=redis.url, HEADRACE_DATABASE=postgres.make_database()
    ).start()
    check_way(node)


def test_migrate_may_be_repeated_and_done_by_several(
    make_node: MakeNode, kafka: KafkaServer, postgres: PostgresServer
) -> None:
    """At once and again; the tables of a store that does not run are left to `up`."""
    node = make_node(**own_topic(kafka), HEADRACE_DATABASE=postgres.make_database())
    with ThreadPoolExecutor(3) as threads:
        for done in threads.map(lambda _: node.run("migrate"), range(3)):
            assert done.returncode == 0, done.stdout + done.stderr
            assert "3 partitions" in done.stdout
            assert "`headrace up` makes its tables" in done.stdout
    node.start()
    done = node.run("migrate")
    assert (done.returncode, "tables: up to date" in done.stdout) == (0, True), done.stdout
    check_way(node)


def test_migrate_says_which_part_does_not_answer(make_node: MakeNode) -> None:
    """A sentence and an exit code of 1, after the time it was given."""
    node = make_node(HEADRACE_KAFKA="127.0.0.1:1")
    done = node.run("migrate", "--wait", "0.6")
    assert done.returncode == 1
    assert done.stderr.count("waiting for log") == 1
    assert "127.0.0.1:1" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_status_says_why_there_is_no_lag(make_node: MakeNode, kafka: KafkaServer) -> None:
    """Brokers that are away and a topic that is not there are told apart."""
    done = make_node(HEADRACE_KAFKA="127.0.0.1:1").run("status")
    assert (done.returncode, "Kafka at 127.0.0.1:1 cannot be reached" in done.stdout) == (3, True)
    done = make_node(**own_topic(kafka)).run("status")
    assert (done.returncode, "`headrace migrate` makes it" in done.stdout) == (3, True)


def test_a_processor_starts_while_control_data_is_away(
    make_node: MakeNode, kafka: KafkaServer
) -> None:
    """It needs the log and the store; who the analysts are can wait."""
    server = make_node().start()
    listen = f"127.0.0.1:{free_port()}"
    node = make_node(
        **own_topic(kafka),
        HEADRACE_CLICKHOUSE=server.as_server,
        HEADRACE_DATABASE="postgresql://127.0.0.1:1/away",
        HEADRACE_PROCESSOR_LISTEN=listen,
    )
    with node.console.open("ab") as console:
        process = subprocess.Popen(
            [HEADRACE, "processor"], env=node.environment, stdout=console, stderr=console
        )
    try:
        until(lambda: "analysts' views are left as they are" in node.said(), "it goes on")
        until(lambda: is_ready(f"http://{listen}"), "it is ready")
    finally:
        process.terminate()
        process.wait(30)


def test_settings_name_files_that_are_not_there(make_node: MakeNode) -> None:
    """Before anything is started, with the setting's name."""
    done = make_node(HEADRACE_KAFKA_TLS_CA="/nowhere.pem").run("settings")
    assert done.returncode == 0  # it lists what there is
    done = make_node(HEADRACE_KAFKA_TLS_CA="/nowhere.pem").run("check")
    assert done.returncode == 2
    assert "HEADRACE_KAFKA_TLS_CA='/nowhere.pem': there is no such file" in done.stderr
