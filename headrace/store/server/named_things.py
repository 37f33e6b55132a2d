"""Statements about one named thing: `DESCRIBE`, `EXISTS`, `SHOW CREATE`.

The engine has no tree for these (`syntax.NoTree`). They are read here, in their plain form only,
and what runs is made anew from the names that were found.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from headrace.store.server.answers import Refusal
from headrace.store.server.engine import quoted_name

_NAME: Final = r"(?:(\w+)|`([^`\\\x00-\x1f]+)`|\"([^\"\\\x00-\x1f]+)\")"
_STATEMENT: Final = re.compile(
    rf"""\s*(?P<verb>DESC(?:RIBE)?|EXISTS|SHOW\s+CREATE)
    (?:\s+(?P<kind>TABLE|VIEW|DATABASE|DICTIONARY))?
    \s+{_NAME}(?:\s*\.\s*{_NAME})?
    (?:\s+FORMAT\s+(?P<format>\w+))?\s*;?\s*""",
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)
_OF_QUERY: Final = re.compile(
    r"\s*DESC(?:RIBE)?\s+(?:TABLE\s+)?\((?P<query>.*)\)(?:\s+FORMAT\s+(?P<format>\w+))?\s*;?\s*",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)


class NamedThing(msgspec.Struct, frozen=True):
    """What is asked about: `database` None is the current one."""

    verb: str
    kind: str
    database: str | None
    name: str
    output_format: str | None

    @property
    def is_database(self) -> bool:
        return self.kind == "DATABASE"

    def sql(self) -> str:
        """The statement, from its parts."""
        name = quoted_name(self.name)
        if self.database is not None:
            name = f"{quoted_name(self.database)}.{name}"
        return f"{self.verb} {self.kind} {name}"


class DescribedQuery(msgspec.Struct, frozen=True):
    """`DESCRIBE (SELECT …)`."""

    query: str
    output_format: str | None


def read_named_thing(sql: str) -> NamedThing | DescribedQuery:
    """What is asked; raises `Refusal` for any other statement."""
    of_query = _OF_QUERY.fullmatch(sql)
    if of_query is not None:
        return DescribedQuery(of_query["query"], of_query["format"])
    found = _STATEMENT.fullmatch(sql)
    if found is None:
        raise Refusal(
            497,
            "ACCESS_DENIED",
            "Not enough privileges: this kind of statement, or this form of it, is not for people",
        )
    verb = " ".join(found["verb"].upper().split()).replace("DESCRIBE", "DESC")
    names = [name for name in found.groups()[2:8] if name is not None]
    kind = (found["kind"] or "TABLE").upper()
    if len(names) > 1 and kind == "DATABASE":
        raise Refusal(62, "SYNTAX_ERROR", "Syntax error: a database has a name of one part")
    database = names[0] if len(names) > 1 else None
    return NamedThing(verb, kind, database, names[-1], found["format"])
