"""The store's tables, views and dictionaries: numbered SQL files, applied in order.

Owns the placeholders in those files and the table `migrations`. Files hold statements that may
be run again, each ended by a `;` at the end of a line, so that two processes may migrate at
once and one that died half way is simply repeated. A file that was released is never changed.

The same files serve the embedded store and a replicated one: `Engines` says what the
placeholders `{engine:…}`, `{durable}`, `{fsync}` and `{source}` stand for.
"""
# ruff: noqa: S608 - names are ours, values are quoted

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final

import msgspec

from headrace.schemas.errors import HeadraceError
from headrace.store.connection import Connection
from headrace.store.text import quote, quote_name

_FOLDER: Final = "migrations"
_FILE: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_ENGINE: Final = re.compile(r"\{engine:(\w+)(?:\(([^)}]*)\))?\}")
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_END: Final = re.compile(r";[ \t]*$", re.MULTILINE)
_LINKS_PER_USER: Final = 500

_FSYNC: Final = "fsync_after_insert = 1, fsync_part_directory = 1"


class NewerStore(HeadraceError):
    """The database was migrated by a newer Headrace than this one."""


class Migration(msgspec.Struct, frozen=True):
    """One file."""

    number: int
    name: str
    text: str


class Engines(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between the embedded store and a server: engines, windows, credentials.

    `engine` is a format of `family` (MergeTree, ReplacingMergeTree, …) and `arguments`, which
    begins with a comma if it is not empty; `source` is what a dictionary needs to read its own
    server (`USER '…' PASSWORD '…'`).
    """

    engine: str
    durable: str
    fsync: str
    source: str
    links_per_user: int = _LINKS_PER_USER


EMBEDDED: Final = Engines(
    engine="{family}({arguments})",
    durable=f"non_replicated_deduplication_window = 1000000, {_FSYNC}",
    fsync=_FSYNC,
    source="",
)


def migrate(
    url: str, user: str, password: str, database: str = "headrace", *, engines: Engines = EMBEDDED
) -> list[str]:
    """Bring a database up to date; returns the names of the migrations applied now.

    May run several times at once. Raises `NewerStore` before doing anything if the database
    is ahead of this program, and the errors of the store's port.
    """
    connection = Connection(url, user, password, database="default")
    try:
        return _migrate(connection, database, engines)
    finally:
        connection.close()


def read_migrations() -> list[Migration]:
    """The shipped files, in order."""
    found = []
    for file in files("headrace.store").joinpath(_FOLDER).iterdir():
        if match := _FILE.fullmatch(file.name):
            text = file.read_text(encoding="utf-8")
            found.append(Migration(int(match[1]), file.name.removesuffix(".sql"), text))
    return sorted(found, key=lambda migration: migration.number)


def statements(migration: Migration, database: str, engines: Engines) -> list[str]:
    """A file's statements with the placeholders filled in."""
    values = {
        "database": database,
        "durable": engines.durable,
        "fsync": engines.fsync,
        "source": engines.source,
        "links_per_user": str(engines.links_per_user),
    }
    text = _ENGINE.sub(
        lambda found: engines.engine.format(family=found[1], arguments=found[2] or ""),
        migration.text,
    )
    text = _PLACEHOLDER.sub(lambda found: values[found[1]], text)
    return [part.strip() for part in _END.split(text) if part.strip()]


def _migrate(connection: Connection, database: str, engines: Engines) -> list[str]:
    name = quote_name(database)
    connection.run(f"CREATE DATABASE IF NOT EXISTS {name}")
    engine = engines.engine.format(family="ReplacingMergeTree", arguments="applied_at")
    connection.run(
        f"CREATE TABLE IF NOT EXISTS {name}.migrations (number UInt32, name String, "
        "applied_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')) "
        f"ENGINE = {engine} ORDER BY number SETTINGS {engines.fsync}"
    )
    applied = {int(row[0]) for row in connection.rows(f"SELECT number FROM {name}.migrations")}
    known = read_migrations()
    _demand_known(applied, known, database)
    missing = [migration for migration in known if migration.number not in applied]
    for migration in missing:
        for statement in statements(migration, database, engines):
            connection.run(statement)
        connection.run(
            f"INSERT INTO {name}.migrations (number, name) "
            f"VALUES ({migration.number}, {quote(migration.name)})"
        )
    return [migration.name for migration in missing]


def _demand_known(applied: set[int], known: list[Migration], database: str) -> None:
    newest = max((migration.number for migration in known), default=0)
    if max(applied, default=0) > newest:
        raise NewerStore(
            f"the store's database {database} has migration {max(applied)}, this program knows "
            f"{newest} at most: a newer Headrace has used it. Start that version again."
        )
