"""How much the engine reads for what analysts ask most, counted in rows: a busy machine reads as
many. The rows are those of the benchmarks, made by the engine."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from benchmarks.kept_tables import COLUMNS, links_sql, rows_sql
from headrace.store.analyst_settings import FORCED_ON_ANALYSTS
from headrace.store.analysts import database_of, view_statements
from headrace.store.guarantees import INSERT_SETTINGS
from headrace.store.migrate import migrate
from tests.store.harness import ServerTables, server_tables
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

ROWS = 200_000
LINKS = 100_000
WORKSPACE = "ws_0"
EVENTS_GRANULE = 8_192
LINKS_GRANULE = 256
USER = "usr_7013"


@pytest.fixture(scope="module")
def filled(module_server: StoreServer) -> Iterator[ServerTables]:
    """Twelve weeks' rows in one part, a third of them the workspace's, and its views."""
    with server_tables(module_server) as tables:
        name = tables.database
        tables.connection.run(
            f"INSERT INTO {name}.events_rows ({COLUMNS}) {rows_sql(0, ROWS, ROWS, LINKS)}",
            settings=INSERT_SETTINGS,
        )
        tables.connection.run(
            f"INSERT INTO {name}.identity_links_rows "
            "(workspace_id, anonymous_id, user_id, received_at, source_event_id) "
            + links_sql(0, LINKS),
            settings=INSERT_SETTINGS,
        )
        for table in ("events_rows", "identity_links_rows"):  # parts as they are in the end
            tables.connection.run(f"OPTIMIZE TABLE {name}.{table} FINAL")
        tables.connection.run(f"SYSTEM RELOAD DICTIONARY {name}.identity_links_all")
        tables.connection.run(f"CREATE DATABASE {database_of(WORKSPACE)}")
        for statement in view_statements(WORKSPACE, name):
            tables.connection.run(statement)
        yield tables
        tables.connection.run(f"DROP DATABASE {WORKSPACE} SYNC")


@pytest.fixture
def client(module_server: StoreServer, filled: ServerTables) -> Client:
    return module_server.client(PROCESSOR, database=WORKSPACE)


def read(client: Client, sql: str) -> tuple[int, int]:
    """Rows that were read and rows of the answer, under the settings of every analyst's query."""
    answer = client.query(sql, settings=dict(FORCED_ON_ANALYSTS))
    return int(answer.summary["read_rows"]), len(answer.result_rows)


DEVICES = f"SELECT anonymous_id FROM {WORKSPACE}.identity_links WHERE user_id = '{USER}'"
WAITING = "SETTINGS mutations_sync = 2"
TYPE_OF_A_DAY = f"""
SELECT event_id, person_id FROM {WORKSPACE}.events
WHERE event = 'type_20' AND timestamp >= '2026-02-10' AND timestamp < '2026-02-11'
"""
TIMELINE = f"""
SELECT timestamp, event, properties_raw FROM {WORKSPACE}.events
WHERE (user_id = '{USER}'
       OR anonymous_id IN ({DEVICES}))
  AND person_id = '{USER}'
ORDER BY timestamp
"""


def test_one_type_of_a_day(client: Client) -> None:
    """Its rows lie side by side: in one granule, or in two where a border is between them."""
    read_rows, found = read(client, TYPE_OF_A_DAY)
    assert found > 0
    assert read_rows <= 2 * EVENTS_GRANULE
    assert read(client, TYPE_OF_A_DAY) == (read_rows, found)


def test_devices_of_a_user(client: Client) -> None:
    """A third of all links are the workspace's; a skip index leaves 16 granules of them."""
    assert read(client, DEVICES) == (16 * LINKS_GRANULE, 2)


def test_a_persons_timeline(client: Client) -> None:
    """For each event the granule that it is in, and what its devices cost."""
    read_rows, found = read(client, TIMELINE)
    assert found >= 2
    assert read_rows <= found * EVENTS_GRANULE + 2 * 16 * LINKS_GRANULE
    assert read(client, TIMELINE) == (read_rows, found)
    everything, _ = read(client, f"SELECT max(event_id) FROM {WORKSPACE}.events")
    assert read_rows < everything / 2


def test_links_of_an_older_version_are_indexed(module_server: StoreServer) -> None:
    """The migration reaches links that were there before it."""
    with server_tables(module_server) as tables:
        run, links = tables.connection.run, f"{tables.database}.identity_links_rows"
        run(f"ALTER TABLE {links} DROP INDEX by_user_id {WAITING}")
        run(f"ALTER TABLE {tables.database}.migrations DELETE WHERE number >= 5 {WAITING}")
        run(
            f"INSERT INTO {links} "
            "(workspace_id, anonymous_id, user_id, received_at, source_event_id) "
            + links_sql(0, 20_000),
            settings=INSERT_SETTINGS,
        )
        applied = migrate(module_server.url, PROCESSOR, PASSWORD, tables.database)
        assert "0005_links_by_user" in applied
        _wait_for_mutations(tables)
        client = module_server.client(PROCESSOR, database=tables.database)
        assert read(client, f"SELECT anonymous_id FROM {links} WHERE user_id = '{USER}'") == (
            16 * LINKS_GRANULE,
            2,
        )


def test_events_of_an_older_version_are_indexed(module_server: StoreServer) -> None:
    """The filters by user and device of 0001 give way to those that err a tenth as often."""
    with server_tables(module_server) as tables:
        run, name = tables.connection.run, tables.database
        indexes = (
            "SELECT name, type_full, granularity FROM system.data_skipping_indices "
            f"WHERE database = '{name}' AND table = 'events_rows' ORDER BY name"
        )
        shipped = tables.rows(indexes)
        run(f"ALTER TABLE {name}.events_rows DROP INDEX by_user {WAITING}")
        run(f"ALTER TABLE {name}.events_rows DROP INDEX by_device {WAITING}")
        for column in ("user_id", "anonymous_id"):
            run(
                f"ALTER TABLE {name}.events_rows ADD INDEX by_{column} {column} "
                "TYPE bloom_filter(0.01) GRANULARITY 1"
            )
        run(f"ALTER TABLE {name}.migrations DELETE WHERE number >= 6 {WAITING}")
        run(
            f"INSERT INTO {name}.events_rows ({COLUMNS}) {rows_sql(0, ROWS, ROWS, LINKS)}",
            settings=INSERT_SETTINGS,
        )
        rows = f"SELECT sum(cityHash64({COLUMNS}, toString(properties))) FROM {name}.events_rows"
        before = tables.rows(rows)
        applied = migrate(module_server.url, PROCESSOR, PASSWORD, name)
        _wait_for_mutations(tables)
        assert "0006_events_by_person" in applied
        assert tables.rows(indexes) == shipped
        assert tables.rows(rows) == before
        read_rows, found = read(
            module_server.client(PROCESSOR, database=name),
            f"SELECT event_id FROM {name}.events_rows "
            f"WHERE workspace_id = '{WORKSPACE}' AND user_id = '{USER}'",
        )
        assert 0 < found <= read_rows <= found * EVENTS_GRANULE


def _wait_for_mutations(tables: ServerTables) -> None:
    undone = (
        f"SELECT count() FROM system.mutations WHERE database = '{tables.database}' AND NOT is_done"
    )
    deadline = time.monotonic() + 30
    while tables.rows(undone) != [(0,)]:
        assert time.monotonic() < deadline, "mutations are not done"
        time.sleep(0.05)
