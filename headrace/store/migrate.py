"""The store's tables, views and dictionaries: numbered SQL files, applied in order.

Owns those files' way into a database and the table `migrations`. Files hold statements that may
be run again, each ended by a `;` at the end of a line, so that two processes may migrate at
once and one that died half way is simply repeated. A file that was released is never changed.

The same files serve the embedded store, a server and a cluster: `engines.py` says what their
placeholders stand for.
"""
# ruff: noqa: S608 - names are ours, values are quoted

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Final

import msgspec

from headrace.schemas.errors import HeadraceError, Unavailable
from headrace.store.connection import Connection, Settings
from headrace.store.copying import CannotCopy, Copy, find_copy
from headrace.store.engines import EMBEDDED, Engines
from headrace.store.fitness import (
    check_database_engine,
    check_macros,
    check_version,
    find_cluster,
    json_settings,
)
from headrace.store.text import quote, quote_name

_FOLDER: Final = "migrations"
_FILE: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_ENGINE: Final = re.compile(r"\{engine:(\w+)(?:\(([^)}]*)\))?\}")
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_END: Final = re.compile(r";[ \t]*$", re.MULTILINE)
_DICTIONARY: Final = re.compile(r"^CREATE (?:DICTIONARY IF NOT EXISTS|OR REPLACE DICTIONARY) (\S+)")
_COMMENTS: Final = re.compile(r"\A(?:\s*--[^\n]*\n)+")
_BAD_LOGIN: Final = re.compile(
    "AUTHENTICATION_FAILED|REQUIRED_PASSWORD|WRONG_PASSWORD|UNKNOWN_USER"
)

_ON_CLUSTER: Final[Settings] = {
    # Past it the statement stays in the queue and is done; we are told which replica is late.
    "distributed_ddl_task_timeout": 50,
    "distributed_ddl_output_mode": "throw",
}


class NewerStore(HeadraceError):
    """The database was migrated by a newer Headrace than this one."""


class Migration(msgspec.Struct, frozen=True):
    """One file."""

    number: int
    name: str
    text: str


def migrate(
    url: str,
    user: str,
    password: str,
    database: str = "headrace",
    *,
    engines: Engines = EMBEDDED,
    known: Sequence[Migration] | None = None,
) -> list[str]:
    """Bring a database up to date; returns the names of the migrations applied now.

    `known` are the files, in order: the shipped ones, unless told otherwise.

    May run several times at once. Raises before doing anything: `NewerStore` if the database is
    ahead of this program, `UnsuitableStore` if it cannot hold the tables, `BadDatabase`; and the
    errors of the store's port.
    """
    connection = Connection(url, user, password, database="default")
    try:
        return _Migrating(connection, database, engines).run(known or read_migrations())
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
    values = engines.values(database)
    text = _PLACEHOLDER.sub(lambda found: values[found[1]], migration.text)
    text = _ENGINE.sub(lambda found: engines.engine(found[1], found[2] or ""), text)
    return [part.strip() for part in _END.split(text) if part.strip()]


def first_statements(database: str, engines: Engines) -> list[str]:
    """What is there before the first file: the database and the table that counts them."""
    values = engines.values(database)
    name, on_cluster = values["database"], values["on_cluster"]
    return [
        f"CREATE DATABASE IF NOT EXISTS {name}{on_cluster}",
        f"CREATE TABLE IF NOT EXISTS {name}.migrations{on_cluster} (number UInt32, name String, "
        "applied_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')) "
        f"ENGINE = {engines.engine('ReplacingMergeTree', 'applied_at')} "
        f"ORDER BY number SETTINGS {engines.fsync}",
    ]


def applied_migrations(connection: Connection, database: str) -> set[int]:
    """The numbers of those applied; none where there is no such table."""
    there = connection.rows(
        "SELECT count() FROM system.tables "
        f"WHERE database = {quote(database)} AND name = 'migrations'"
    )
    if not there[0][0]:
        return set()
    rows = connection.rows(f"SELECT number FROM {quote_name(database)}.migrations")
    return {int(row[0]) for row in rows}


class _Migrating:
    """One run over one database."""

    def __init__(self, connection: Connection, database: str, engines: Engines) -> None:
        self._connection = connection
        self._database = database
        self._engines = engines
        self._settings: Settings = {}

    def run(self, known: Sequence[Migration]) -> list[str]:
        replicas = self._examine()
        applied = applied_migrations(self._connection, self._database)
        _demand_known(applied, known, self._database)
        if self._lacks_tables(replicas):
            applied = set()
        missing = [migration for migration in known if migration.number not in applied]
        if not applied:
            self._run(first_statements(self._database, self._engines))
        for migration in missing:
            self._apply(migration)
        self._renew_logins(known)
        return [migration.name for migration in missing]

    def _examine(self) -> int:
        """How many replicas there must be, 0 if tables have none; raises what speaks against it."""
        self._engines.values(self._database)
        check_version(str(self._connection.rows("SELECT version()")[0][0]))
        self._settings = json_settings(self._connection)
        if not self._engines.cluster:
            return 0
        self._settings = {**self._settings, **_ON_CLUSTER}
        check_macros(self._connection)
        check_database_engine(self._connection, self._database)
        return find_cluster(self._connection, self._engines.cluster).replicas

    def _lacks_tables(self, replicas: int) -> bool:
        """Whether a replica was added to the cluster that has none of the tables yet."""
        if not replicas:
            return False
        found = self._connection.rows(
            "SELECT total_replicas FROM system.replicas "
            f"WHERE database = {quote(self._database)} AND table = 'migrations'"
        )
        return not found or int(found[0][0]) < replicas

    def _apply(self, migration: Migration) -> None:
        self._run(statements(migration, self._database, self._engines))
        self._connection.run(
            f"INSERT INTO {quote_name(self._database)}.migrations (number, name) "
            f"VALUES ({migration.number}, {quote(migration.name)})"
        )

    def _renew_logins(self, known: Sequence[Migration]) -> None:
        """Dictionaries log in with what they were made with: a password may have changed since."""
        if not self._engines.source:
            return
        recent = f"{quote_name(self._database)}.identity_links_recent"
        try:
            self._connection.run(f"SYSTEM RELOAD DICTIONARY {recent}")
        except Unavailable as error:
            if not _BAD_LOGIN.search(str(error)):
                raise
            self._run(dictionaries(known, self._database, self._engines))
            self._connection.run(f"SYSTEM RELOAD DICTIONARY {recent}")

    def _run(self, wanted: Iterable[str]) -> None:
        for statement in wanted:
            if names := find_copy(_COMMENTS.sub("", statement)):
                self._copy(names)
            else:
                self._connection.run(statement, settings=self._settings)

    def _copy(self, names: tuple[str, str, str, str]) -> None:
        if self._engines.cluster:
            raise CannotCopy(
                f"{names[1]} has to be copied, which is not supported on a cluster; stay with the "
                "version before, or move to one server"
            )
        Copy(self._connection, names, self._settings).run()


def dictionaries(known: Iterable[Migration], database: str, engines: Engines) -> list[str]:
    """The statements that make every dictionary anew as it is now."""
    found = {}
    for migration in known:
        for statement in statements(migration, database, engines):
            text = _COMMENTS.sub("", statement)
            if match := _DICTIONARY.match(text):
                found[match[1]] = _DICTIONARY.sub(r"CREATE OR REPLACE DICTIONARY \1", text)
    return list(found.values())


def _demand_known(applied: set[int], known: Sequence[Migration], database: str) -> None:
    newest = max((migration.number for migration in known), default=0)
    if max(applied, default=0) > newest:
        raise NewerStore(
            f"the store's database {database} has migration {max(applied)}, this program knows "
            f"{newest} at most: a newer Headrace has used it. Start that version again."
        )
