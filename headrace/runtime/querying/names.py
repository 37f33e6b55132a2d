"""What Tab offers: tables and columns as the login sees them, and the words of SQL.

Owns which of them fit at a place in a statement. How they are shown is the prompt's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from headrace.runtime.querying.statements import is_inside_piece, split_statements
from headrace.runtime.store_reader import QueryFailed, StoreReader

_COLUMNS: Final = (
    "SELECT table, name, type FROM system.columns WHERE database = currentDatabase() "
    "ORDER BY table, position"
)
_WORDS: Final = """
    SELECT DISTINCT FROM PREWHERE WHERE GROUP BY HAVING QUALIFY ORDER LIMIT OFFSET WITH FILL STEP
    TOTALS ROLLUP CUBE JOIN INNER LEFT RIGHT FULL OUTER CROSS ANY SEMI ANTI ASOF ARRAY ON USING
    UNION INTERSECT EXCEPT ALL AS AND OR NOT IN IS NULL LIKE ILIKE BETWEEN CASE WHEN THEN ELSE END
    ASC DESC NULLS FIRST LAST OVER PARTITION ROWS RANGE PRECEDING FOLLOWING UNBOUNDED CURRENT ROW
    WINDOW INTERVAL SECOND MINUTE HOUR DAY WEEK MONTH QUARTER YEAR FORMAT SETTINGS DESCRIBE SHOW
    TABLES DATABASES COLUMNS EXISTS EXPLAIN USE SET
"""
_KEYWORDS: Final = tuple(_WORDS.split())
_BEFORE_TABLES: Final = frozenset({"FROM", "JOIN", "TABLE", "DESCRIBE", "DESC", "EXISTS"})
_WORD: Final = re.compile(r"(?:\w+\.)*\w*\Z")
_TABLE_USED: Final = re.compile(
    r"\b(?:FROM|JOIN)\s+(\w+)(?=(?:\s+(?:AS\s+)?(\w+))?)", re.IGNORECASE
)


class Offer(msgspec.Struct, frozen=True):
    """A word that may stand here, and what it is."""

    word: str
    meaning: str


class Names(msgspec.Struct, frozen=True):
    """Table → column → type, of the current database."""

    tables: Mapping[str, Mapping[str, str]]

    def offers(self, before: str, after: str = "") -> tuple[str, list[Offer]]:
        """What is typed of a word before the cursor, and the words that it may become."""
        if is_inside_piece(before):
            return "", []
        statement = split_statements(before)[1]
        if not before.endswith(statement):  # what stood behind it was space
            statement += " "
        [typed] = _WORD.findall(before)[:1]
        alias, dot, beginning = typed.rpartition(".")
        used = _tables_used(statement + after.partition(";")[0])
        if dot:
            return beginning, _beginning(beginning, self._columns([used.get(alias, alias)]))
        previous = re.findall(r"\w+", statement[: len(statement) - len(typed)])[-1:]
        if previous and previous[0].upper() in _BEFORE_TABLES:
            return typed, _beginning(typed, self._tables())
        columns = self._columns([each for each in used.values() if each in self.tables])
        words = (*columns, *_keywords(typed), *self._tables())
        return typed, _beginning(typed, words)

    def _tables(self) -> list[Offer]:
        return [Offer(table, "table") for table in self.tables]

    def _columns(self, tables: Iterable[str]) -> list[Offer]:
        """Of these tables, or of all where none was named yet."""
        wanted = list(dict.fromkeys(tables)) or list(self.tables)
        found = {
            name: Offer(name, kind)
            for table in wanted
            for name, kind in self.tables.get(table, {}).items()
        }
        return list(found.values())


class _Column(msgspec.Struct):
    table: str
    name: str
    type: str


def read_names(store: StoreReader) -> Names:
    """Ask the store; none where it does not tell this login."""
    tables: dict[str, dict[str, str]] = {}
    try:
        rows = store.rows(_COLUMNS, _Column)
    except QueryFailed:
        return Names({})
    for row in rows:
        tables.setdefault(row.table, {})[row.name] = row.type
    return Names(tables)


def _tables_used(statement: str) -> dict[str, str]:
    """Table or its alias → table."""
    used: dict[str, str] = {}
    for table, alias in _TABLE_USED.findall(statement):
        used[table] = table
        if alias and alias.upper() not in _KEYWORDS:
            used[alias] = table
    return used


def _keywords(typed: str) -> list[Offer]:
    """In capitals, unless small letters were begun with."""
    small = typed.islower()
    return [Offer(word.lower() if small else word, "keyword") for word in _KEYWORDS]


def _beginning(typed: str, offers: Iterable[Offer]) -> list[Offer]:
    return [each for each in offers if each.word.lower().startswith(typed.lower())]
