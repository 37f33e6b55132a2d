"""Bringing a database up to date."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from headrace.schemas.errors import Unavailable
from headrace.store.connection import Connection
from headrace.store.engines import EMBEDDED
from headrace.store.migrate import NewerStore, migrate, read_migrations, statements
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

ALL = [migration.name for migration in read_migrations()]
WITH_TOKENS = ("events_rows", "rejected_events_rows", "deduplicated_events_rows")


@pytest.fixture
def database(module_server: StoreServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a database that is not there yet."""
    name = re.sub(r"\W", "_", request.node.name)
    yield name
    with_connection(module_server, f"DROP DATABASE IF EXISTS {name} SYNC")


def with_connection(server: StoreServer, sql: str) -> list[tuple[object, ...]]:
    connection = Connection(server.url, PROCESSOR, PASSWORD)
    try:
        if not sql.startswith("SELECT"):
            connection.run(sql)
            return []
        return [tuple(row) for row in connection.rows(sql)]
    finally:
        connection.close()


def run(server: StoreServer, database: str) -> list[str]:
    return migrate(server.url, PROCESSOR, PASSWORD, database)


def test_files_are_numbered_from_one_without_a_gap() -> None:
    """So that the highest number tells which are there."""
    assert [migration.number for migration in read_migrations()] == list(range(1, len(ALL) + 1))


def test_every_migration_is_applied_once(module_server: StoreServer, database: str) -> None:
    """In order; a second run has nothing to do."""
    assert run(module_server, database) == ALL
    assert run(module_server, database) == []
    recorded = with_connection(
        module_server, f"SELECT name FROM {database}.migrations ORDER BY number"
    )
    assert recorded == [(name,) for name in ALL]


def test_rows_are_on_disk_when_an_insert_returns(module_server: StoreServer, database: str) -> None:
    """The log forgets what is settled: after a loss of power the rows are all there is. Only when
    links were last loaded may be lost (then all of them count as new)."""
    run(module_server, database)
    tables = definitions(module_server, database)
    assert {"events_rows", *WITH_TOKENS, "identity_links_rows"} <= set(tables)
    del tables["identity_loads_rows"]
    for name, definition in tables.items():
        assert "fsync_after_insert = 1" in definition, name
        assert "fsync_part_directory = 1" in definition, name
    for name in WITH_TOKENS:
        assert "non_replicated_deduplication_window = 1000000" in tables[name], name


def definitions(server: StoreServer, database: str) -> dict[str, str]:
    """The tables that keep rows, as the engine knows them."""
    found = with_connection(
        server,
        "SELECT name, create_table_query FROM system.tables "
        f"WHERE database = '{database}' AND engine LIKE '%MergeTree'",
    )
    return {str(name): str(definition) for name, definition in found}


def test_two_may_migrate_at_once(module_server: StoreServer, database: str) -> None:
    """Neither fails, and each migration is recorded."""
    with ThreadPoolExecutor(4) as threads:
        runs = [threads.submit(run, module_server, database) for _ in range(4)]
        applied = [name for each in runs for name in each.result()]
    assert set(applied) == set(ALL)
    count = f"SELECT count() FROM {database}.migrations FINAL"
    assert with_connection(module_server, count) == [(len(ALL),)]


def test_a_migration_that_was_cut_short_is_completed(
    module_server: StoreServer, database: str
) -> None:
    """What was done but not recorded is done again without harm."""
    run(module_server, database)
    with_connection(module_server, f"TRUNCATE TABLE {database}.migrations")
    with_connection(module_server, f"DROP VIEW {database}.events")
    assert run(module_server, database) == ALL
    assert with_connection(module_server, f"SELECT count() FROM {database}.events") == [(0,)]


def test_a_newer_database_is_left_alone(module_server: StoreServer, database: str) -> None:
    """The sentence names both versions and what to do."""
    run(module_server, database)
    with_connection(
        module_server, f"INSERT INTO {database}.migrations (number, name) VALUES (4711, 'later')"
    )
    with pytest.raises(NewerStore, match=r"migration 4711.*newer Headrace"):
        run(module_server, database)


def test_a_store_that_is_away_is_unavailable() -> None:
    """The caller waits and tries again."""
    with pytest.raises(Unavailable):
        migrate("http://127.0.0.1:1", PROCESSOR, PASSWORD)


def test_statements_may_hold_a_semicolon_inside_a_line() -> None:
    """Only one at a line's end ends a statement."""
    text = "SELECT ';' AS a;\n\nSELECT 2\n;\n"
    migration = msgspec.structs.replace(read_migrations()[0], text=text)
    assert statements(migration, "d", EMBEDDED) == ["SELECT ';' AS a", "SELECT 2"]
