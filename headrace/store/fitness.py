"""Whether a ClickHouse can hold the store, asked before anything is made in it.

Owns the sentences for a server that is too old and for a cluster that is unknown, has several
shards or lacks what replicas are named by.
"""
# ruff: noqa: S608 - values are quoted

from __future__ import annotations

import re
from typing import Final

import msgspec

from headrace.schemas.errors import HeadraceError
from headrace.store.connection import Connection, Settings
from headrace.store.text import quote

OLDEST_VERSION: Final = (24, 8)
_MACROS: Final = ("shard", "replica")
_JSON_SETTINGS: Final = ("allow_experimental_json_type", "enable_json_type")


class UnsuitableStore(HeadraceError):
    """The store cannot be used as it is set up; the message says what to change."""


class Cluster(msgspec.Struct, frozen=True):
    """What the server knows of a cluster: how many shards, and how many replicas in all."""

    name: str
    shards: int
    replicas: int


def check_version(version: str) -> None:
    """Raises `UnsuitableStore` for a server that lacks what the tables are made of."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise UnsuitableStore(
            f"ClickHouse {version} is too old: Headrace needs {oldest} or newer (the JSON type)"
        )


def find_cluster(connection: Connection, name: str) -> Cluster:
    """A cluster of one shard. Raises `UnsuitableStore` for any other."""
    found = count_replicas(connection, name)
    if not found.replicas:
        raise UnsuitableStore(_unknown(name, _clusters(connection)))
    if found.shards > 1:
        raise UnsuitableStore(
            f"the cluster {name!r} has {found.shards} shards. Headrace works with one: all rows of "
            "a partition of the log must be on the shard that knows its positions. Define one with "
            "one <shard> and name it in HEADRACE_CLICKHOUSE_CLUSTER"
        )
    return found


def count_replicas(connection: Connection, name: str) -> Cluster:
    """Any cluster; one that is unknown has no replicas."""
    [[shards, replicas]] = connection.rows(
        f"SELECT uniqExact(shard_num), count() FROM system.clusters WHERE cluster = {quote(name)}"
    )
    return Cluster(name, int(shards), int(replicas))


def check_macros(connection: Connection) -> None:
    """Raises `UnsuitableStore` if replicas would have no name or nowhere to meet."""
    known = {str(row[0]) for row in connection.rows("SELECT macro FROM system.macros")}
    if missing := [name for name in _MACROS if name not in known]:
        names = " and ".join(f"<{name}>" for name in missing)
        raise UnsuitableStore(
            f"the server's configuration has no {names} under <macros>: replicated tables are "
            "named by them. Add them on every replica, <replica> another on each"
        )


def check_database_engine(connection: Connection, database: str) -> None:
    """Raises `UnsuitableStore` for a database that does not take `ON CLUSTER`."""
    engines = connection.rows(f"SELECT engine FROM system.databases WHERE name = {quote(database)}")
    if engines and engines[0][0] == "Replicated":
        raise UnsuitableStore(
            f"the database {database} is of the engine Replicated, which takes no ON CLUSTER. Name "
            "another database at the end of HEADRACE_CLICKHOUSE; it is made where it is not there"
        )


def json_settings(connection: Connection) -> Settings:
    """What allows columns of the type JSON: it had to be allowed until 25.3."""
    names = ", ".join(map(quote, _JSON_SETTINGS))
    known = connection.rows(f"SELECT name FROM system.settings WHERE name IN ({names})")
    return {str(row[0]): 1 for row in known}


def _clusters(connection: Connection) -> list[str]:
    rows = connection.rows("SELECT DISTINCT cluster FROM system.clusters ORDER BY cluster")
    return [str(row[0]) for row in rows]


def _unknown(name: str, known: list[str]) -> str:
    there = ", ".join(map(repr, known)) or "none"
    return (
        f"the server knows no cluster {name!r} (there is: {there}). Correct "
        "HEADRACE_CLICKHOUSE_CLUSTER, or add it to the server's <remote_servers>"
    )
