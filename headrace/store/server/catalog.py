"""What an analyst sees of `system.tables`, `columns` and `databases`: views of their own.

A filter alone would not do: the engine moves an analyst's predicate ahead of it, and
`toInt32(name) = 1` then tells another workspace's names. Nothing is moved below a LIMIT.
"""

from __future__ import annotations

import threading
from typing import Final

from headrace.store.server.engine import Engine, quoted_name, quoted_text
from headrace.store.server.rights import CATALOG, COMMON, FILTERED, Rights

_MOST_ROWS: Final = 1_000_000
_AGE_SECONDS: Final = 2.0


class Catalog:
    """Makes the views when they are first wanted; they live as long as the process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._made: set[str] = set()
        self._lock = threading.Lock()
        # Of the engine Memory, so that an older engine's columns are not found after an upgrade.
        engine.order(f"DROP DATABASE IF EXISTS {CATALOG} SYNC")
        engine.order(f"CREATE DATABASE {CATALOG} ENGINE = Memory")

    def prepare(self, rights: Rights) -> None:
        """The views of this analyst exist when it returns."""
        with self._lock:
            if rights.database in self._made:
                return
            for table, column in FILTERED.items():
                self._engine.order(_view(rights, table, column))
            self._made.add(rights.database)

    def filters(self, rights: Rights) -> str:
        """`additional_table_filters` of this analyst: the wall's second course.

        Whatever way a query found to a table, of those that say whose a row is it reads only
        the workspace's.
        """
        workspace = f"workspace_id = {quoted_text(rights.workspace_id or '')}"
        filters = {f"{COMMON}.{table}": workspace for table in self._tables_of_workspaces()}
        for table, column in FILTERED.items():
            filters[f"system.{table}"] = f"{column} = {quoted_text(rights.database)}"
        pairs = (f"{quoted_text(name)}:{quoted_text(text)}" for name, text in filters.items())
        return "{" + ",".join(pairs) + "}"

    def _tables_of_workspaces(self) -> list[str]:
        return self._engine.remembered(
            "SELECT DISTINCT table FROM system.columns WHERE database = 'headrace'"
            " AND name = 'workspace_id' AND table IN (SELECT name FROM system.tables"
            " WHERE database = 'headrace' AND engine NOT LIKE '%View' AND engine != 'Dictionary')",
            _AGE_SECONDS,
        )


def _view(rights: Rights, table: str, column: str) -> str:
    name = f"{CATALOG}.{quoted_name(rights.view_of(table))}"
    owner = quoted_text(rights.database)
    return (
        f"CREATE VIEW IF NOT EXISTS {name} AS SELECT * FROM"  # noqa: S608 - names are quoted
        f" (SELECT * FROM system.{table} WHERE {column} = {owner} LIMIT {_MOST_ROWS})"
    )
