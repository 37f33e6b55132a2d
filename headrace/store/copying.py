"""Giving a table that holds rows another sort key or engine: its rows are copied, then renamed.

Owns the statement `COPY <table> TO <next> KEEP <before>` of a migration's file, which stands after
the one that makes `<next>`. Partition by partition the rows go into a table of their own, which
then replaces that partition of `<next>`, at once and whole: whoever is killed repeats one
partition. Then `<table>` becomes `<before>`, and from here on writers find no table, and wait;
`<next>` becomes `<next>_last`, so that nobody who read `<table>` earlier can replace anything in
it; partitions that differ from `<before>` are copied once more, and it becomes `<table>`. Each
renaming succeeds once, so several may do this at once. `<before>` stays until a later file drops
it: it tells that the names were changed (docs/decisions/0011-copying-a-table.md).
"""
# ruff: noqa: S608 - names are ours, values are quoted

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from headrace.schemas.errors import HeadraceError, Unavailable
from headrace.store.connection import Connection, Settings
from headrace.store.text import quote, quote_name

_STATEMENT: Final = re.compile(r"COPY `?([^`\s]+)`?\.(\w+) TO \S+\.(\w+) KEEP \S+\.(\w+)")
_OVERTAKEN: Final = re.compile(
    "UNKNOWN_TABLE|TABLE_ALREADY_EXISTS|TABLE_IS_DROPPED|CANNOT_GET_CREATE_TABLE_QUERY"
)
"""How the store says that a table's name was changed or taken meanwhile."""
_MOST_TRIES: Final = 20
_LOOK_SECONDS: Final = 0.05
_LONGEST_INSERT_SECONDS: Final = 120.0


class _Overtaken(Exception):
    """A table has another name by now."""


class CannotCopy(HeadraceError):
    """The tables are not as the copy needs them."""


def find_copy(statement: str) -> tuple[str, str, str, str] | None:
    """Database, table, next and before, if the statement is such a copy."""
    found = _STATEMENT.fullmatch(statement)
    return (found[1], found[2], found[3], found[4]) if found else None


class Copy:
    """One copy. `settings` are those of the inserts; `pause` gives others their time."""

    def __init__(
        self,
        connection: Connection,
        names: tuple[str, str, str, str],
        settings: Settings,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._database, self._table, self._next, self._before = names
        self._last = f"{self._next}_last"
        self._settings = settings
        self._pause = pause

    def run(self) -> None:
        """Returns when `<table>` has the new layout and every row. May be repeated, by several."""
        found = ""
        for _ in range(_MOST_TRIES):
            try:
                if self._advance():
                    return
            except _Overtaken:
                continue
            except Unavailable as error:
                # Somebody else does the same and was first; where it is now is looked at anew.
                if not _OVERTAKEN.search(str(error)):
                    raise
                found = str(error)
        raise Unavailable(f"{self._table} is being copied by somebody else; try again ({found})")

    def _advance(self) -> bool:
        """One stretch of the way; True at its end."""
        there = self._tables()
        if {self._table, self._before} <= there:
            self._clear_up(there)
            return True
        if {self._table, self._next} <= there:
            self._copy_partitions(self._table, self._next)
            self._rename(self._table, self._before)
        elif {self._before, self._last} <= there:
            self._wait_for_inserts()
            self._copy_partitions(self._before, self._last)
            self._rename(self._last, self._table)
        elif {self._before, self._next} <= there:
            self._rename(self._next, self._last)
        else:
            raise CannotCopy(
                f"cannot copy {self._table} of database {self._database} to {self._next}: there "
                f"must be both, or {self._before} and one of them; there is "
                f"{', '.join(sorted(there)) or 'none'}"
            )
        return False

    def _rename(self, old: str, new: str) -> None:
        """Views and dictionaries go by the name: after the second renaming they are right again."""
        self._connection.run(
            f"RENAME TABLE {self._name(old)} TO {self._name(new)}",
            settings={"check_table_dependencies": 0},
        )

    def _tables(self) -> set[str]:
        rows = self._connection.rows(
            f"SELECT name FROM system.tables WHERE database = {quote(self._database)}"
        )
        ours = (self._table, self._next, self._last, self._before)
        found = {str(row[0]) for row in rows}
        return {name for name in found if name in ours or name.startswith(f"{self._next}_part_")}

    def _clear_up(self, there: set[str]) -> None:
        for name in there - {self._table, self._before}:
            self._run(f"DROP TABLE IF EXISTS {self._name(name)} SYNC")

    def _copy_partitions(self, source: str, target: str) -> None:
        """Every partition whose rows are not the same."""
        columns = self._columns(source, target)
        wanted, held = self._sums(source, columns), self._sums(target, columns)
        for partition in sorted(wanted):
            if held.get(partition) != wanted[partition]:
                self._copy_partition(source, target, partition, columns)

    def _copy_partition(self, source: str, target: str, partition: str, columns: str) -> None:
        part = self._name(f"{self._next}_part_{uuid4().hex}")
        self._run(f"CREATE TABLE {part} AS {self._name(target)}")
        self._run(
            f"INSERT INTO {part} ({columns}) SELECT {columns} FROM {self._name(source)} "
            f"WHERE _partition_id = {quote(partition)}"
        )
        # A partition keeps its id: what a copy may change is the order within, not the months.
        self._run(
            f"ALTER TABLE {self._name(target)} REPLACE PARTITION ID {quote(partition)} FROM {part}"
        )
        self._run(f"DROP TABLE {part} SYNC")

    def _columns(self, source: str, target: str) -> str:
        """Those that both tables keep; the new one computes or defaults the others."""
        rows = self._connection.rows(
            "SELECT name FROM system.columns "
            f"WHERE database = {quote(self._database)} AND default_kind IN ('', 'DEFAULT') "
            f"AND table IN ({quote(source)}, {quote(target)}) "
            "GROUP BY name HAVING count() = 2 ORDER BY min(position)"
        )
        if not rows:
            raise _Overtaken
        return ", ".join(quote_name(str(row[0])) for row in rows)

    def _sums(self, table: str, columns: str) -> dict[str, tuple[int, int]]:
        """Partition → how many rows, and the sum of their checksums."""
        rows = self._connection.rows(
            f"SELECT _partition_id, count(), sum(cityHash64({columns})) FROM {self._name(table)} "
            "GROUP BY _partition_id"
        )
        return {str(partition): (int(count), int(total)) for partition, count, total in rows}

    def _wait_for_inserts(self) -> None:
        """Inserts that began before the renaming go on into the table they began with."""
        waited = 0.0
        now = "toUnixTimestamp64Milli(now64(3)) / 1000"
        renamed = self._connection.rows(f"SELECT {now}")[0][0]
        running = (
            "SELECT count() FROM system.processes "
            f"WHERE query_kind = 'Insert' AND {now} - elapsed <= {renamed}"
        )
        while self._connection.rows(running)[0][0]:
            if waited > _LONGEST_INSERT_SECONDS:
                raise Unavailable("an insert has been running for too long; end it and try again")
            self._pause(_LOOK_SECONDS)
            waited += _LOOK_SECONDS

    def _name(self, table: str) -> str:
        return f"{quote_name(self._database)}.{quote_name(table)}"

    def _run(self, sql: str) -> None:
        self._connection.run(sql, settings=self._settings)
