"""What is found at a ClickHouse, and what is wrong with it, for `headrace check`.

Owns the sentences. A look changes nothing.
"""
# ruff: noqa: S608 - names are ours, values are quoted

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Final

import msgspec

from headrace.schemas.errors import HeadraceError, Unavailable
from headrace.store.connection import Connection
from headrace.store.engines import WINDOW_BLOCKS, WINDOW_SECONDS, check_database
from headrace.store.fitness import (
    Cluster,
    check_database_engine,
    check_macros,
    check_version,
    count_replicas,
    find_cluster,
)
from headrace.store.guarantees import guarantees_for
from headrace.store.migrate import applied_migrations, read_migrations
from headrace.store.text import quote, quote_name

_WITH_TOKENS: Final = ("events_rows", "rejected_events_rows", "deduplicated_events_rows")
_SECONDS: Final = 5.0
_MOST_QUEUED: Final = 1_000


class StoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """`shards` and `replicas` are those of the cluster, 0 where none is set.

    `problems` keep the store from working as it should, in sentences.
    """

    version: str
    timezone: str
    database: str
    applied: Sequence[str]
    missing: Sequence[str]
    shards: int
    replicas: int
    problems: Sequence[str]


def inspect_store(
    url: str, user: str, password: str, database: str = "headrace", *, cluster: str = ""
) -> StoreReport:
    """Look at a store as the user who writes to it. Raises `Unavailable` if it does not answer."""
    connection = Connection(url, user, password, database="default", answer_seconds=_SECONDS)
    with closing(connection):
        return _Look(connection, database, cluster).report()


class _Look:
    """One look at one store."""

    def __init__(self, connection: Connection, database: str, cluster: str) -> None:
        self._connection = connection
        self._database = database
        self._cluster = cluster
        self._hosts = Cluster(cluster, 0, 0)

    def report(self) -> StoreReport:
        [[version, timezone]] = self._connection.rows("SELECT version(), timezone()")
        applied = applied_migrations(self._connection, self._database)
        known = read_migrations()
        missing = [each.name for each in known if each.number not in applied]
        self._hosts = count_replicas(self._connection, self._cluster)
        return StoreReport(
            version=str(version),
            timezone=str(timezone),
            database=self._database,
            applied=[each.name for each in known if each.number in applied],
            missing=missing,
            shards=self._hosts.shards,
            replicas=self._hosts.replicas,
            problems=list(self._problems(str(version), missing)),
        )

    def _problems(self, version: str, missing: Sequence[str]) -> Iterator[str]:
        yield from _said(lambda: check_version(version))
        yield from _said(lambda: check_database(self._database))
        if self._cluster:
            yield from _said(lambda: check_macros(self._connection))
            yield from _said(lambda: check_database_engine(self._connection, self._database))
            yield from _said(lambda: find_cluster(self._connection, self._cluster))
        if missing:
            yield f"migrations are missing: {', '.join(missing)}. Run `headrace migrate`"
            return
        for part in (self._settings, self._tables, self._replicas, self._dictionaries):
            try:
                yield from part()
            except Unavailable as error:
                yield f"it does not say what is in it: {error}"

    def _settings(self) -> Iterator[str]:
        """What every insert and read says, and this user may not say."""
        found = guarantees_for(self._cluster)
        wanted = {**found.inserts, **found.reads}
        names = ", ".join(map(quote, wanted))
        for name, value in self._connection.rows(
            f"SELECT name, value FROM system.settings WHERE readonly AND name IN ({names})"
        ):
            if str(value) != str(wanted[str(name)]):
                yield (
                    f"the user's profile holds {name} at {value} and does not let it be set to "
                    f"{wanted[str(name)]}: inserts are refused. Take the constraint away"
                )

    def _tables(self) -> Iterator[str]:
        """Windows that somebody has changed."""
        window = "replicated_deduplication_window"
        if not self._cluster:
            window = f"non_{window}"
        wanted = {window: WINDOW_BLOCKS}
        if self._cluster:
            wanted["replicated_deduplication_window_seconds"] = WINDOW_SECONDS
        definitions = self._connection.rows(
            "SELECT name, create_table_query FROM system.tables "
            f"WHERE database = {quote(self._database)} AND name IN "
            f"({', '.join(map(quote, _WITH_TOKENS))}) ORDER BY name"
        )
        for name, definition in definitions:
            for setting, value in wanted.items():
                if f" {setting} = {value}" not in str(definition):
                    yield (
                        f"the table {name} no longer has {setting} = {value}: a block may be taken "
                        f"twice. ALTER TABLE {quote_name(self._database)}.{name} MODIFY SETTING "
                        f"{setting} = {value}"
                    )

    def _replicas(self) -> Iterator[str]:
        if not self._cluster:
            return
        for name, total, active, readonly, queued in self._connection.rows(
            "SELECT table, total_replicas, active_replicas, is_readonly, queue_size "
            f"FROM system.replicas WHERE database = {quote(self._database)} ORDER BY table"
        ):
            if total < self._hosts.replicas:
                yield (
                    f"the table {name} is on {total} of the cluster's {self._hosts.replicas} "
                    "replicas. Run `headrace migrate`"
                )
            if active <= total // 2:
                yield (
                    f"of the {total} replicas of {name} {active} can be reached: inserts wait "
                    "until more than half can"
                )
            if readonly:
                yield f"the table {name} is read-only on this replica: it has lost its Keeper"
            if queued > _MOST_QUEUED:
                yield f"this replica is {queued:,} steps behind in {name}"

    def _dictionaries(self) -> Iterator[str]:
        for name, error in self._connection.rows(
            "SELECT name, last_exception FROM system.dictionaries "
            f"WHERE database = {quote(self._database)} AND last_exception != '' ORDER BY name"
        ):
            yield f"the dictionary {name} cannot be loaded: {str(error)[:300]}"


def _said(check: Callable[[], object]) -> Iterator[str]:
    """What a check raises, as a sentence."""
    try:
        check()
    except Unavailable as error:
        yield f"it cannot be looked at: {error}"
    except HeadraceError as error:
        yield str(error)
