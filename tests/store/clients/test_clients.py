"""The official clients for Node, Go and the JVM, as they are, against the embedded store.

Superset, Metabase, DBeaver and Grafana's plugin speak through these. Each connects, pings, looks
at tables and columns, asks with a parameter, reads a large result, meets errors at the start and in
the middle of one, and gives up on a query.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests.store.clients.programs import ask_by_go, ask_by_jdbc, ask_by_node
from tests.store.server_fixture import StoreServer
from tests.store.two_workspaces import OWN_ROWS

pytestmark = pytest.mark.node

COLUMNS = {
    "event_id": "String",
    "event": "LowCardinality(String)",
    "user_id": "String",
    "anonymous_id": "String",
    "person_id": "String",
    "timestamp": "DateTime64(6, 'UTC')",
    "received_at": "DateTime64(6, 'UTC')",
    "properties": "JSON",
    "properties_raw": "String",
}
LARGE = {"count": 300_000, "sum": 300_000 * 299_999 // 2}
OF_EVENT_A = len(range(0, OWN_ROWS * 2, 6))


def hung_up() -> float:
    """How many queries were ended because their client was gone."""
    labels = {"role": "analyst", "result": "hung_up"}
    return REGISTRY.get_sample_value("headrace_store_queries_total", labels) or 0


def check_ended(before: float) -> None:
    """The query that the client gave up runs no longer; a moment may pass until that is seen."""
    for _ in range(100):
        if hung_up() > before:
            return
        time.sleep(0.1)
    raise AssertionError("the query of a client that is gone still runs")


def check_common(found: dict[str, Any]) -> None:
    """What every client finds."""
    assert found["tables"] == ["events"]
    assert found["columns"] == COLUMNS
    assert found["large"] == LARGE
    assert found["code"] == "47"
    assert found["denied"] in {"497", "46"}
    assert found["cancelled"] == "cancelled"


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_node(two_workspaces: StoreServer, compression: str) -> None:
    """`@clickhouse/client`."""
    before = hung_up()
    found = ask_by_node(two_workspaces, compression)
    check_common(found)
    assert found["ping"] is found["pingSelect"] is True
    assert found["parameter"] == [{"n": OF_EVENT_A}]
    row = found["row"]
    assert (row["event"], row["timestamp"]) == ("a", "2026-01-01 00:00:00.000000")
    assert row["properties"] == {"n": "1", "k": 5}
    # Unpacked, the exception may come in two pieces, and this client looks into one of them only.
    assert found["brokenStream"] == "395" or (
        compression == "gzip" and "error in the stream" in found["brokenStream"]
    )
    check_ended(before)


@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "zstd"])
def test_go(two_workspaces: StoreServer, compression: str) -> None:
    """`clickhouse-go` over HTTP: Native blocks of its protocol, all kinds of columns."""
    before = hung_up()
    found = ask_by_go(two_workspaces, compression)
    check_common(found)
    assert found["parameter"] == OF_EVENT_A
    assert found["empty"] == []
    assert found["row"] == {
        "event": "a",
        "user": "0",
        "timestamp": "2026-01-01T00:00:00Z",
        "properties": {"n": "1", "k": 5},
    }
    assert found["kinds"] == {
        "nothing": None,
        "something": "some",
        "names": ["a", "b"],
        "numbers": {"k": 7},
        "low": "low",
        "lows": ["x", "y"],
        "at": "2026-01-02T03:04:05.123456Z",
    }
    assert "395" in found["brokenStream"]
    check_ended(before)


def test_jdbc(two_workspaces: StoreServer) -> None:
    """The JDBC driver, as Metabase and DBeaver use it."""
    found = ask_by_jdbc(two_workspaces)
    assert found["ping"] == "true"
    assert found["tables"] == "events"
    assert found["columns"].split(",") == list(COLUMNS)
    assert found["parameter"] == str(OF_EVENT_A)
    assert (found["event"], found["timestamp"]) == ("a", "2026-01-01T00:00:00Z")
    assert found["properties"] == '{"k":5,"n":"1"}'
    assert (found["names"], found["numbers"], found["nothing"]) == ("a", "{k=1}", "null")
    assert (found["count"], found["sum"]) == (str(LARGE["count"]), str(LARGE["sum"]))
    assert found["code"] == "47"
    assert found["denied"] in {"497", "46"}
    assert found["cancelled"] == "cancelled"
