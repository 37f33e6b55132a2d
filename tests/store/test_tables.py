"""The tables and views: what people read, and what the engine reads to answer them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from headrace.store.port import Place
from tests.store.harness import (
    LOG,
    MORNING,
    WORKSPACE,
    ServerTables,
    event_row,
    rejected_row,
    server_tables,
)
from tests.store.server_fixture import StoreServer

MANY = 60_000
NAMES = ["app_opened", "purchase", "screen_viewed", "login"]
ANALYST_SETTINGS = (
    "SETTINGS optimize_move_to_prewhere = 0, query_plan_optimize_prewhere = 0, "
    "short_circuit_function_evaluation = 'force_enable'"
)


@pytest.fixture(scope="module")
def large(module_server: StoreServer) -> Iterator[ServerTables]:
    """Sixty thousand events of four types and 15,000 devices, in one part."""
    rows = [
        event_row(
            at,
            event_id=f"evt_{at // 100:024d}{at % 100:02d}",
            event=NAMES[at % len(NAMES)],
            user_id=f"u{at // 4}" if at % 3 == 0 else "",
            user_known=at % 3 == 0,
            anonymous_id=f"d{at // 4}",
            timestamp=MORNING + timedelta(seconds=at),
            received_at=MORNING + timedelta(seconds=at),
        )
        for at in range(MANY)
    ]
    with server_tables(module_server) as tables:
        asyncio.run(tables.store.insert_events(rows, token="t"))
        yield tables


def granules(tables: ServerTables, sql: str) -> tuple[int, int]:
    """How many granules a query reads, and of how many, by the engine's own account."""
    plan = "\n".join(row[0] for row in tables.rows(f"EXPLAIN indexes = 1 {sql}"))
    found = re.findall(r"Granules: (\d+)/(\d+)", plan)
    return int(found[-1][0]), int(found[0][1])


@pytest.mark.parametrize(
    "where",
    [
        f"workspace_id = '{WORKSPACE}' AND event = 'login' "
        "AND timestamp >= '2026-03-01 10:00:00' AND timestamp < '2026-03-01 11:00:00'",
        f"workspace_id = '{WORKSPACE}' AND user_id = 'u7500'",
        f"workspace_id = '{WORKSPACE}' AND anonymous_id IN ('d7500', 'd7501')",
        f"workspace_id = '{WORKSPACE}' AND (user_id = 'u7500' OR anonymous_id = 'd7500')",
        f"(workspace_id, substring(event_id, 1, 28)) IN (('{WORKSPACE}', 'evt_{'0' * 24}'))",
        f"log_id = '{LOG}' AND log_partition = 0 AND log_position BETWEEN 59000 AND 60000",
    ],
    ids=["type and time", "user", "devices", "person", "request", "positions"],
)
def test_what_is_asked_often_reads_few_granules(large: ServerTables, where: str) -> None:
    """Also under the settings that every analyst's query runs with."""
    read, of = granules(
        large, f"SELECT event_id FROM {large.database}.events WHERE {where} {ANALYST_SETTINGS}"
    )
    assert of >= MANY // 8192
    assert read <= 5 < of


def test_text_that_looks_like_a_time_stays_text(tables: ServerTables) -> None:
    """Types in the JSON column are those the client sent."""
    row = event_row(1, properties_raw=b'{"day":"2026-01-01","at":"2026-01-01T10:00:00Z","n":"12"}')
    asyncio.run(tables.store.insert_events([row], token="t"))
    types = f"SELECT JSONAllPathsWithTypes(properties) FROM {tables.database}.events"
    assert tables.rows(types) == [({"day": "String", "at": "String", "n": "String"},)]


@pytest.mark.parametrize(
    ("properties", "shown"),
    [
        (b'{"a":1,"a":2}', '{"a":1}'),
        (b'{"a.b":1,"a":{"b":2}}', '{"a":{"b":1}}'),
        (b'{"a":null,"b":{},"c":1.0}', '{"c":1}'),
        (b'{"a":18446744073709551616}', '{"a":"18446744073709551616"}'),
    ],
)
def test_the_json_column_is_a_reading_of_the_bytes(
    tables: ServerTables, properties: bytes, shown: str
) -> None:
    """What it cannot hold is in `properties_raw`, as the documentation says."""
    asyncio.run(tables.store.insert_events([event_row(1, properties_raw=properties)], token="t"))
    rows = tables.rows(
        f"SELECT toJSONString(properties), properties_raw FROM {tables.database}.events"
    )
    assert rows == [(shown, properties.decode())]


def test_a_reject_shows_as_replayed_once_its_event_is_stored(tables: ServerTables) -> None:
    """The same id, type and time in the same workspace; another workspace's does not count."""
    rejected = [rejected_row(1), rejected_row(2), rejected_row(3, timestamp=None)]
    asyncio.run(tables.store.insert_rejected(rejected, token="t"))

    def replayed() -> list[tuple[int, bool]]:
        return tables.rows(
            "SELECT log_position, replayed FROM "
            f"{tables.database}.rejected_events ORDER BY log_position"
        )

    def store_again(position: int, workspace: str) -> None:
        row = event_row(
            position,
            place=Place(LOG, 0, position + 100),
            event=rejected[0].event,
            workspace_id=workspace,
        )
        asyncio.run(tables.store.insert_events([row], token=f"{position} {workspace}"))

    store_again(1, "ws_two")
    assert replayed() == [(1, False), (2, False), (3, False)]
    store_again(2, WORKSPACE)
    assert replayed() == [(1, False), (2, True), (3, False)]


def test_looking_for_replays_reads_next_to_no_events(large: ServerTables) -> None:
    """The rejects' own keys are looked up, not all events."""
    asyncio.run(large.store.insert_rejected([rejected_row(1), rejected_row(2)], token="t"))
    tables = f"{large.database}.events_rows"
    read, of = granules(
        large,
        f"SELECT event_id FROM {tables} WHERE (workspace_id, event, timestamp, event_id) IN "
        f"(SELECT workspace_id, event, ifNull(timestamp, now64(6)), event_id "
        f"FROM {large.database}.rejected_events_rows)",
    )
    assert read <= 2 < of
    assert large.rows(f"SELECT replayed FROM {large.database}.rejected_events") == [(False,)] * 2


@pytest.mark.parametrize(
    ("view", "columns"),
    [
        (
            "events",
            "workspace_id event_id event user_id anonymous_id person_id timestamp received_at "
            "timeliness properties properties_raw log_id log_partition log_position",
        ),
        (
            "rejected_events",
            "workspace_id event_id event user_id anonymous_id timestamp received_at "
            "properties_raw code reason path schema raw replayed log_id log_partition "
            "log_position",
        ),
        (
            "deduplicated_events",
            "workspace_id event_id request deduplicated_at log_id log_partition log_position "
            "kept_log_id kept_log_partition kept_log_position",
        ),
        ("identity_links", "workspace_id anonymous_id user_id linked_at source_event_id"),
    ],
)
def test_views_show_what_is_documented(tables: ServerTables, view: str, columns: str) -> None:
    """People's queries rest on these names."""
    rows = tables.rows(
        f"SELECT name FROM system.columns WHERE database = '{tables.database}' "
        f"AND table = '{view}' ORDER BY position"
    )
    assert [row[0] for row in rows] == columns.split()


def test_the_check_has_the_columns_of_events(tables: ServerTables) -> None:
    """So that both refuse the same rows."""

    def columns(table: str) -> list[tuple[str, ...]]:
        return tables.rows(
            "SELECT name, type, default_kind, default_expression FROM system.columns "
            f"WHERE database = '{tables.database}' AND table = '{table}' ORDER BY name"
        )

    assert columns("events_check") == columns("events_rows")
