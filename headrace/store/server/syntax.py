"""The engine's own reading of a statement: SQL to a tree and back.

`parseQueryToJSON` parses without running anything, refuses a second statement, and refuses what
it cannot show in full. What it shows is compared with what the engine's formatter prints, so a
part of a statement cannot be there and not be in the tree. Parentheses that change nothing are not
in the tree, and clients love them (`WHERE (event = 'x')`), so the two are compared without any:
which belongs to which was decided before the tree was.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from typing import Any, Final

import msgspec

from headrace.store.server.answers import Refusal
from headrace.store.server.engine import Handle

Node = dict[str, Any]

_PARSE: Final = (
    "WITH parseQueryToJSON({sql:String}) AS tree"
    " SELECT tree, translate(formatQueryFromJSON(tree), '()', '')"
    " = translate(formatQuerySingleLine({sql:String}), '()', '')"
)
_REMEMBERED: Final = 512
_LARGE_BYTES: Final = 32 * 1024
_ECHO: Final = re.compile(r": In scope (?:WITH|SELECT) .*?(?=\. \([A-Z_]+\)$|$)", re.DOTALL)
_BAD_ARGUMENTS: Final = 36
"""What `parseQueryToJSON` says of a kind of statement it cannot show."""


class NoTree(Exception):
    """The statement parses, but the engine has no tree for its kind (`DESCRIBE` and the like)."""


class Parser:
    """Parses, and remembers what was asked lately: dashboards ask the same again and again.

    What a text means depends on nothing but the text, so the trees of one user's are another's.
    Used from many threads.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def parse(self, handle: Handle, sql: str) -> Node:
        """The tree of exactly one statement, the caller's to change.

        Raises `NoTree`, or `Refusal` for what does not parse.
        """
        with self._lock:
            tree = self._known.get(sql)
        if tree is None:
            tree = _parse(handle, sql)
            self._remember(sql, tree)
        return dict(msgspec.json.decode(tree))

    def _remember(self, sql: str, tree: bytes) -> None:
        if len(sql) + len(tree) > _LARGE_BYTES:
            return
        with self._lock:
            self._known[sql] = tree
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


def _parse(handle: Handle, sql: str) -> bytes:
    try:
        answer = handle.query(_PARSE, "JSONCompactEachRow", {"sql": as_parameter(sql)})
    except Refusal as refusal:
        if refusal.code == _BAD_ARGUMENTS:
            raise NoTree from refusal
        raise _without_echo(refusal) from refusal
    tree, is_faithful = msgspec.json.decode(answer.data)
    if not is_faithful:
        raise Refusal(497, "ACCESS_DENIED", "Not enough privileges: the query cannot be checked")
    return str(tree).encode()


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
