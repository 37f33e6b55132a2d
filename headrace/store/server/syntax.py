"""The engine's own reading of a statement: SQL to a tree and back.

`parseQueryToJSON` parses without running anything, refuses a second statement, and refuses what
it cannot show in full. What it shows is compared with what the engine's formatter prints, so a
part of a statement cannot be there and not be in the tree.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from headrace.store.server.answers import Refusal
from headrace.store.server.engine import Handle

Node = dict[str, Any]

_PARSE: Final = (
    "WITH parseQueryToJSON({sql:String}) AS tree"
    " SELECT tree, formatQueryFromJSON(tree) = formatQuerySingleLine({sql:String}),"
    " (SELECT groupArray(lower(name)) FROM system.databases)"
)
_ECHO: Final = re.compile(r": In scope (?:WITH|SELECT) .*?(?=\. \([A-Z_]+\)$|$)", re.DOTALL)
_BAD_ARGUMENTS: Final = 36
"""What `parseQueryToJSON` says of a kind of statement it cannot show."""


class Parsed(msgspec.Struct, frozen=True):
    """A statement's tree, and the names of the databases there are, in lower case."""

    tree: Node
    databases: frozenset[str]


class NoTree(Exception):
    """The statement parses, but the engine has no tree for its kind (`DESCRIBE` and the like)."""


def parse(handle: Handle, sql: str) -> Parsed:
    """The tree of exactly one statement; raises `NoTree`, or `Refusal` for what does not parse."""
    try:
        answer = handle.query(_PARSE, "JSONCompactEachRow", {"sql": as_parameter(sql)})
    except Refusal as refusal:
        if refusal.code == _BAD_ARGUMENTS:
            raise NoTree from refusal
        raise _without_echo(refusal) from refusal
    tree, is_faithful, databases = msgspec.json.decode(answer.data)
    if not is_faithful:
        raise Refusal(497, "ACCESS_DENIED", "Not enough privileges: the query cannot be checked")
    return Parsed(msgspec.json.decode(tree), frozenset(databases))


def render(handle: Handle, tree: Node) -> str:
    """SQL of a tree."""
    text = msgspec.json.encode(tree).decode()
    answer = handle.query(
        "SELECT formatQueryFromJSON({tree:String})", "RawBLOB", {"tree": as_parameter(text)}
    )
    return answer.data.decode()


def as_parameter(text: str) -> str:
    """A string as the value of a query parameter."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _without_echo(refusal: Refusal) -> Refusal:
    return refusal.with_text(_ECHO.sub("", refusal.text))
