"""Analysts on a ClickHouse server: users, roles, row policies, quotas and a profile, as SQL.

Owns the statements, which may be run again, and their order. Two walls stand between an analyst
and another workspace. Grants: an analyst may read the views of the workspace's own database, which
read the tables as a *definer* of that workspace; nobody can log in as the definer. Row policies:
the definer sees the workspace's rows alone, whatever the views say, and before any predicate is
evaluated. docs/decisions/0008-clickhouse-cluster.md says what else was considered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

import msgspec

from headrace.store.analyst_settings import FORCED_ON_ANALYSTS
from headrace.store.analysts import VIEWS, database_of, view_statements
from headrace.store.engines import check_database
from headrace.store.server.permitted_settings import FREE
from headrace.store.server.rights import HARMLESS
from headrace.store.text import quote, quote_name

_TABLES: Final = (
    "events_rows",
    "rejected_events_rows",
    "deduplicated_events_rows",
    "identity_links_rows",
)
"""What the views read that has a row's workspace in it."""
_DICTIONARIES: Final = ("identity_links_recent", "identity_links_all", "stored_events")
_EVERYONE: Final = "headrace_everyone"
_NOBODYS_HASH: Final = "0" * 64


class AnalystLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one analyst; sizes are bytes, times seconds."""

    query_seconds: int = 60
    query_bytes: int = 2 * 1024**3
    query_threads: int = 4
    result_rows: int = 10_000_000
    result_bytes: int = 2 * 1024**3
    queries_at_once: int = 7
    queries_per_minute: int = 600
    execution_seconds_per_minute: int = 240


class AnalystUser(msgspec.Struct, frozen=True):
    """Who logs in, with which password (its SHA-256), to read which workspace."""

    name: str
    password_sha256: bytes
    workspace_id: str


class AnalystAccess(msgspec.Struct, frozen=True, kw_only=True):
    """Access to one store: `known` are the names of the server's settings."""

    database: str
    cluster: str = ""
    known: Collection[str]
    limits: AnalystLimits = AnalystLimits()

    def create(self, user: AnalystUser) -> list[str]:
        """Everything that one analyst needs, in an order that opens nothing before it is shut."""
        check_database(self.database)
        return [
            *self._profile(),
            *self._policies_of_everyone(),
            *self._definer(user.workspace_id),
            *self._views(user.workspace_id),
            *self._role(user.workspace_id),
            *self._user(user),
        ]

    def drop_user(self, name: str) -> list[str]:
        """The login alone; other analysts of the workspace stay."""
        return [f"DROP USER IF EXISTS {quote_name(name)}{self._on}"]

    def drop_workspace(self, workspace_id: str) -> list[str]:
        """What the last analyst of a workspace leaves behind; no rows."""
        role, definer = map(quote_name, (self.role(workspace_id), self.definer(workspace_id)))
        policy = quote_name(workspace_id)
        return [
            f"DROP DATABASE IF EXISTS {quote_name(database_of(workspace_id))}{self._on} SYNC",
            f"DROP QUOTA IF EXISTS {role}{self._on}",
            f"DROP ROLE IF EXISTS {role}{self._on}",
            f"DROP USER IF EXISTS {definer}{self._on}",
            *(
                f"DROP ROW POLICY IF EXISTS {policy}{self._on} ON {self._name(table)}"
                for table in _TABLES
            ),
        ]

    def role(self, workspace_id: str) -> str:
        """What the workspace's analysts have in common; also how they are told from others."""
        return f"{self.database}_{database_of(workspace_id)}_analyst"

    def definer(self, workspace_id: str) -> str:
        """As whom the workspace's views read."""
        return f"{self.database}_{database_of(workspace_id)}_views"

    @property
    def profile(self) -> str:
        return f"{self.database}_analyst"

    @property
    def _on(self) -> str:
        return f" ON CLUSTER {quote_name(self.cluster)}" if self.cluster else ""

    def _name(self, table: str) -> str:
        return f"{quote_name(self.database)}.{table}"

    def _grant(self, what: str, to: str) -> str:
        return f"GRANT{self._on} {what} TO {quote_name(to)}"

    def _profile(self) -> Iterator[str]:
        name = quote_name(self.profile)
        yield f"CREATE SETTINGS PROFILE IF NOT EXISTS {name}{self._on}"
        yield f"ALTER SETTINGS PROFILE {name}{self._on} SETTINGS {', '.join(self._settings())}"

    def _settings(self) -> Iterator[str]:
        limits = self.limits
        # 1 lets through what is CHANGEABLE_IN_READONLY and nothing else: a list of what may be.
        yield "readonly = 1 CONST"
        forced = {**FORCED_ON_ANALYSTS, "allow_ddl": "0", "allow_introspection_functions": "0"}
        forced["timeout_overflow_mode"] = "throw"
        for name, value in forced.items():
            if name in self.known:
                yield f"{name} = {value if value.isdigit() else quote(value)} CONST"
        bounds = {
            "max_execution_time": limits.query_seconds,
            "max_memory_usage": limits.query_bytes,
            "max_threads": limits.query_threads,
            "max_result_rows": limits.result_rows,
            "max_result_bytes": limits.result_bytes,
        }
        for name, most in bounds.items():  # 0 would be without a limit
            yield f"{name} = {most} MIN 1 MAX {most} CHANGEABLE_IN_READONLY"
        yield f"max_concurrent_queries_for_user = {limits.queries_at_once} CONST"
        for name in sorted(FREE & set(self.known)):
            yield f"{name} CHANGEABLE_IN_READONLY"

    def _policies_of_everyone(self) -> Iterator[str]:
        """A table with a policy hides its rows from those who have none, on some servers."""
        for table in _TABLES:
            yield (
                f"CREATE ROW POLICY OR REPLACE {_EVERYONE}{self._on} ON {self._name(table)} "
                "FOR SELECT USING 1 AS PERMISSIVE TO ALL"
            )

    def _definer(self, workspace_id: str) -> Iterator[str]:
        definer, mine = self.definer(workspace_id), quote(workspace_id)
        yield (
            f"CREATE USER IF NOT EXISTS {quote_name(definer)}{self._on} "
            f"IDENTIFIED WITH sha256_hash BY '{_NOBODYS_HASH}' HOST NONE"
        )
        for table in _TABLES:
            yield (
                f"CREATE ROW POLICY OR REPLACE {quote_name(workspace_id)}{self._on} "
                f"ON {self._name(table)} FOR SELECT USING workspace_id = {mine} "
                f"AS RESTRICTIVE TO {quote_name(definer)}"
            )
        for table in (*VIEWS, *_TABLES):
            yield self._grant(f"SELECT ON {self._name(table)}", definer)
        for dictionary in _DICTIONARIES:
            yield self._grant(f"dictGet ON {self._name(dictionary)}", definer)

    def _views(self, workspace_id: str) -> Iterator[str]:
        name = quote_name(database_of(workspace_id))
        yield f"CREATE DATABASE IF NOT EXISTS {name}{self._on}"
        yield from view_statements(
            workspace_id,
            self.database,
            on_cluster=self._on,
            definer=self.definer(workspace_id),
        )

    def _role(self, workspace_id: str) -> Iterator[str]:
        role, limits = self.role(workspace_id), self.limits
        yield f"CREATE ROLE IF NOT EXISTS {quote_name(role)}{self._on}"
        yield self._grant(f"SELECT ON {quote_name(database_of(workspace_id))}.*", role)
        system = ", ".join(f"SELECT ON system.{table}" for table in sorted(HARMLESS))
        yield self._grant(system, role)
        yield f"CREATE QUOTA IF NOT EXISTS {quote_name(role)}{self._on}"
        yield (
            f"ALTER QUOTA {quote_name(role)}{self._on} KEYED BY user_name FOR INTERVAL 1 minute "
            f"MAX queries = {limits.queries_per_minute}, "
            f"execution_time = {limits.execution_seconds_per_minute} TO {quote_name(role)}"
        )

    def _user(self, user: AnalystUser) -> Iterator[str]:
        name = quote_name(user.name)
        login = (
            f"IDENTIFIED WITH sha256_hash BY '{user.password_sha256.hex()}' "
            f"DEFAULT DATABASE {quote_name(database_of(user.workspace_id))} "
            f"SETTINGS PROFILE {quote(self.profile)}"
        )
        yield f"CREATE USER IF NOT EXISTS {name}{self._on} {login}"
        yield f"ALTER USER {name}{self._on} {login}"
        yield self._grant(quote_name(self.role(user.workspace_id)), user.name)
