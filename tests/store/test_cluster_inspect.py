"""What `headrace check` finds at a store."""

from __future__ import annotations

import pytest

from headrace.schemas.errors import Unavailable
from headrace.store.connection import Connection
from headrace.store.engines import engines_for
from headrace.store.inspect import StoreReport, inspect_store
from headrace.store.migrate import migrate, read_migrations
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

ALL = [migration.name for migration in read_migrations()]


def look(server: StoreServer, database: str, cluster: str = "") -> StoreReport:
    return inspect_store(server.url, PROCESSOR, PASSWORD, database, cluster=cluster)


def make(server: StoreServer, database: str) -> None:
    engines = engines_for("", "default", "")
    migrate(server.url, PROCESSOR, PASSWORD, database, engines=engines)


def run(server: StoreServer, *statements: str) -> None:
    connection = Connection(server.url, PROCESSOR, PASSWORD, database="default")
    for statement in statements:
        connection.run(statement)
    connection.close()


def test_a_good_store_has_no_problems(module_server: StoreServer) -> None:
    """Its version, its migrations, nothing else."""
    make(module_server, "good")
    found = look(module_server, "good")
    assert found.problems == []
    assert (found.applied, found.missing) == (ALL, [])
    assert found.version[:2].isdigit()
    assert (found.shards, found.replicas) == (0, 0)


def test_missing_migrations_are_named(module_server: StoreServer) -> None:
    """With what applies them."""
    found = look(module_server, "not_there")
    assert found.missing == ALL
    assert len(found.problems) == 1
    assert "`headrace migrate`" in found.problems[0]


def test_a_window_that_was_made_smaller_is_told(module_server: StoreServer) -> None:
    """With the statement that mends it."""
    make(module_server, "altered")
    run(
        module_server,
        "ALTER TABLE altered.events_rows MODIFY SETTING non_replicated_deduplication_window = 10",
    )
    [problem] = look(module_server, "altered").problems
    assert "the table events_rows no longer has" in problem
    statement = problem[problem.index("ALTER TABLE") :]
    run(module_server, statement)
    assert look(module_server, "altered").problems == []


def test_a_dictionary_that_cannot_be_loaded_is_told(module_server: StoreServer) -> None:
    """A password that was changed, for example."""
    make(module_server, "login")
    run(
        module_server,
        "CREATE OR REPLACE DICTIONARY login.identity_links_recent (workspace_id String, "
        "anonymous_id String, user_id String DEFAULT '') PRIMARY KEY workspace_id, anonymous_id "
        "SOURCE(CLICKHOUSE(USER 'nobody' PASSWORD 'x' QUERY $$SELECT '', '', ''$$)) "
        "LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(0)",
    )
    with pytest.raises(Unavailable):
        run(module_server, "SYSTEM RELOAD DICTIONARY login.identity_links_recent")
    [problem] = look(module_server, "login").problems
    assert "the dictionary identity_links_recent cannot be loaded" in problem


def test_what_is_wrong_with_a_cluster_is_told(module_server: StoreServer) -> None:
    """All of it at once, where migrating stops at the first."""
    make(module_server, "lonely")
    problems = look(module_server, "lonely", cluster="events").problems
    assert any("<shard> and <replica> under <macros>" in each for each in problems)
    assert any("no cluster 'events'" in each for each in problems)
    assert any("no longer has replicated_deduplication_window" in each for each in problems)


def test_a_store_that_is_away_is_unavailable() -> None:
    """There is nothing to report."""
    with pytest.raises(Unavailable):
        inspect_store("http://127.0.0.1:1", PROCESSOR, PASSWORD)
