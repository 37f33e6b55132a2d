"""Tables of a server and of a cluster: the statements, read by the real engine.

What only several servers can show (replication itself) cannot be run here; that the statements are
what they should be can. Single-server engines are run, by the contract suite too.
"""

from __future__ import annotations

import re

import pytest

from headrace.store.connection import Connection
from headrace.store.engines import (
    EMBEDDED,
    BadDatabase,
    Engines,
    check_database,
    engines_for,
)
from headrace.store.fitness import UnsuitableStore, check_version, find_cluster
from headrace.store.guarantees import guarantees_for
from headrace.store.migrate import (
    dictionaries,
    first_statements,
    migrate,
    read_migrations,
    statements,
)
from headrace.store.text import quote
from tests.store.golden import check_golden
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

SERVER = engines_for("", "headrace", "it's a secret")
CLUSTER = engines_for("events", "headrace", "it's a secret")
BOTH = pytest.mark.parametrize("engines", [SERVER, CLUSTER], ids=["server", "cluster"])


def everything(engines: Engines, database: str = "headrace") -> list[str]:
    """All that a new database is made with."""
    found = first_statements(database, engines)
    for migration in read_migrations():
        found += statements(migration, database, engines)
    return found


def code(statement: str) -> str:
    return re.sub(r"(?m)^\s*--.*$", "", statement).strip()


@pytest.fixture
def engine(module_server: StoreServer) -> Connection:
    """The real engine, to parse with."""
    return Connection(module_server.url, PROCESSOR, PASSWORD, database="default")


@BOTH
def test_tables_are_made_as_written_down(engines: Engines, request: pytest.FixtureRequest) -> None:
    """A change of a statement shows as a change of a file somebody reads."""
    name = request.node.callspec.id
    check_golden(f"tables_{name}.sql", [code(each) for each in everything(engines)])


@BOTH
def test_the_engine_reads_every_statement(engine: Connection, engines: Engines) -> None:
    """Also those that only a cluster can run."""
    for statement in everything(engines, "my-events"):
        engine.rows(f"SELECT formatQuery({quote(statement)})")
    for statement in dictionaries(read_migrations(), "my-events", engines):
        engine.rows(f"SELECT formatQuery({quote(statement)})")


def test_everything_is_made_on_the_whole_cluster() -> None:
    """A new CREATE without its placeholder would make a table on one replica alone."""
    for statement in map(code, everything(CLUSTER)):
        head = statement.partition("(")[0].partition(" AS")[0]
        assert " ON CLUSTER `events`" in head, head
    assert "ON CLUSTER" not in "".join(map(code, everything(SERVER)))


def test_every_table_that_keeps_rows_is_replicated() -> None:
    """With a path of its own name, so that a replica that comes later finds the others."""
    text = "\n".join(map(code, everything(CLUSTER)))
    kinds = re.findall(r"ENGINE = (\w+)(?:\(([^)]*)\))?", text)
    assert {kind for kind, _ in kinds if not kind.startswith("Replicated")} == {"Null"}
    for kind, arguments in kinds:
        if kind != "Null":
            assert arguments.startswith(
                "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
            )
    assert text.count("replicated_deduplication_window = 1000000") == 4
    assert text.count("replicated_deduplication_window_seconds = 604800") == 4


def test_windows_of_a_server_are_those_of_the_embedded_store() -> None:
    """And what is embedded did not change for the server's sake."""
    assert SERVER.durable == EMBEDDED.durable
    assert SERVER.engine("ReplacingMergeTree", "applied_at") == "ReplacingMergeTree(applied_at)"


def test_the_engine_hides_the_login_of_dictionaries(
    engine: Connection, module_server: StoreServer
) -> None:
    """Whoever may read their definition does not read the password."""
    engines = engines_for("", "default", "")
    migrate(module_server.url, PROCESSOR, PASSWORD, "hidden", engines=engines)
    found = engine.rows(
        "SELECT name, create_table_query FROM system.tables "
        "WHERE database = 'hidden' AND engine = 'Dictionary'"
    )
    assert len(found) == 3
    for _, definition in found:
        assert "USER 'default' PASSWORD '[HIDDEN]'" in definition


def test_dictionaries_get_the_password_of_today(
    engine: Connection, module_server: StoreServer
) -> None:
    """Changed on the server and in the settings, it is in the dictionaries at the next start."""
    engines = engines_for("", "default", "")
    migrate(module_server.url, PROCESSOR, PASSWORD, "renewed", engines=engines)
    old = engines_for("", "somebody_else", "old password")
    for statement in dictionaries(read_migrations(), "renewed", old):
        engine.run(statement)
    assert migrate(module_server.url, PROCESSOR, PASSWORD, "renewed", engines=engines) == []
    assert engine.rows("SELECT count() FROM renewed.events") == [(0,)]
    found = engine.rows(
        "SELECT countIf(create_table_query LIKE '%somebody_else%') FROM system.tables "
        "WHERE database = 'renewed'"
    )
    assert found == [(0,)]


@pytest.mark.parametrize("name", ["my-events", "Events_2", "default"])
def test_the_database_may_have_another_name(module_server: StoreServer, name: str) -> None:
    """Whatever a name in a URL is."""
    engines = engines_for("", "default", "")
    assert migrate(module_server.url, PROCESSOR, PASSWORD, name, engines=engines)
    assert migrate(module_server.url, PROCESSOR, PASSWORD, name, engines=engines) == []


@pytest.mark.parametrize("name", ["a.b", "", "1a", "a`b", "a'b", "x" * 64, "system", "ws_one"])
def test_a_database_that_cannot_be_ours_is_told(name: str) -> None:
    """Before anything is made, with the setting that names it."""
    with pytest.raises(BadDatabase, match="HEADRACE_CLICKHOUSE"):
        check_database(name)
    with pytest.raises(BadDatabase):
        migrate("http://127.0.0.1:1", "u", "p", name)


@pytest.mark.parametrize("version", ["24.3.18.7", "23.12", "9.9"])
def test_a_server_that_is_too_old_is_told(version: str) -> None:
    """The sentence says which version would do."""
    with pytest.raises(UnsuitableStore, match=rf"ClickHouse {version} is too old.*24\.8"):
        check_version(version)


@pytest.mark.parametrize("version", ["24.8.1.1", "24.10.3", "25.3.2.39", "26.9.2.1-lts"])
def test_newer_servers_will_do(version: str) -> None:
    """From the first one with the JSON type on."""
    check_version(version)


class Server(Connection):
    """A server that knows these (cluster, shard number) pairs."""

    def __init__(self, *replicas: tuple[str, int]) -> None:
        super().__init__("http://127.0.0.1:1", "", "")
        self.replicas = replicas

    def rows(self, sql: str, *, settings: object = None) -> list[tuple[object, ...]]:
        if "DISTINCT" in sql:
            return [(name,) for name in sorted({name for name, _ in self.replicas})]
        shards = [shard for name, shard in self.replicas if quote(name) in sql]
        return [(len(set(shards)), len(shards))]


def test_a_cluster_of_one_shard_will_do() -> None:
    """However many replicas it has."""
    found = find_cluster(Server(("events", 1), ("events", 1), ("other", 1)), "events")
    assert (found.shards, found.replicas) == (1, 2)


def test_several_shards_are_refused_with_the_reason() -> None:
    """They would need all writes of a partition on one shard."""
    with pytest.raises(UnsuitableStore, match=r"'events' has 2 shards.*HEADRACE_CLICKHOUSE_CLU"):
        find_cluster(Server(("events", 1), ("events", 2)), "events")


def test_an_unknown_cluster_is_answered_with_those_there_are() -> None:
    """So that a typing error is seen at once."""
    with pytest.raises(UnsuitableStore, match=r"no cluster 'evnts' \(there is: 'events', 'x'\)"):
        find_cluster(Server(("events", 1), ("x", 1)), "evnts")


def test_a_server_without_a_cluster_is_told_before_anything_is_made(
    engine: Connection, module_server: StoreServer
) -> None:
    """The engine here knows neither macros nor clusters."""
    with pytest.raises(UnsuitableStore, match=r"<shard> and <replica> under <macros>"):
        migrate(module_server.url, PROCESSOR, PASSWORD, "nowhere", engines=CLUSTER)
    with pytest.raises(UnsuitableStore, match=r"no cluster 'events' \(there is: none\)"):
        find_cluster(engine, "events")
    assert engine.rows("SELECT count() FROM system.databases WHERE name = 'nowhere'") == [(0,)]


def test_settings_of_a_cluster_are_known_to_the_engine(engine: Connection) -> None:
    """A majority has a block when it is answered, and reads see what a majority has."""
    found = guarantees_for("events")
    for settings in (found.inserts, found.links, found.reads):
        names = ", ".join(map(quote, settings))
        known = engine.rows(f"SELECT count() FROM system.settings WHERE name IN ({names})")
        assert known == [(len(settings),)]
    assert found.inserts["insert_quorum"] == "auto"
    assert found.inserts["insert_quorum_parallel"] == 0  # or reads may miss what was answered
    assert found.reads == {"select_sequential_consistency": 1}
    assert guarantees_for("").reads == {}
