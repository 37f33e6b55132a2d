"""The wall around people: a statement runs only if every part of it is known to be harmless.

Judges the engine's own tree of a statement (`syntax.py`) against three lists: the parts a
statement may be made of (`grammar.py`), the functions it may call (`known_functions.py`), the
settings it may make (`permitted_settings.py`); and against what the user may read (`rights.py`).
Nothing is looked for that would be forbidden: whatever is not allowed is refused.

A table can be named in three ways only. By a table identifier or, in `IN`, an identifier: names
of two parts whose first is no database of the user's are refused wherever they stand. By one
part: then it is in the current database, which is the user's. By a string in a function's
argument: functions that take such are not on the list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from headrace.store.server import grammar
from headrace.store.server.answers import Refusal
from headrace.store.server.formats import is_permitted
from headrace.store.server.known_functions import is_harmless, is_harmless_table_function
from headrace.store.server.permitted_settings import PermittedSettings, check_explain_setting
from headrace.store.server.rights import CATALOG, FILTERED, Rights
from headrace.store.server.syntax import Node

_PLAIN_NAME: Final = re.compile(r"[A-Za-z_]\w{0,127}", re.ASCII)
_PATTERN: Final = re.compile(r"[^'\\\x00-\x1f]{0,256}")
_OUR_PREFIXES: Final = ("ws_", "headrace")
_SYSTEM_DATABASES: Final = frozenset({"system", "information_schema", "default"})
_NUMBERS_AND_TEXTS: Final = frozenset({"UInt64", "Int64", "Float64", "String", "Bool"})
_NOTHING: Final[frozenset[str]] = frozenset()


class Wall(msgspec.Struct, frozen=True):
    """What is known of one user, one engine and one request."""

    rights: Rights
    settings: PermittedSettings
    functions: frozenset[str]
    """The engine's own, in lower case: to tell an unknown function from a forbidden one."""
    databases: frozenset[str]
    """The engine's own, in lower case: a name that begins with one of them may be a table."""
    parameters: Mapping[str, str]
    views_in_place: bool = False
    """Whether tables of `system` were replaced by their views already."""

    def judge(self, tree: Node) -> bool:
        """Raises `Refusal` unless every part is allowed.

        Identifiers that were given as parameters are put in their place, and tables of `system`
        that an analyst may not see whole are replaced by their views. True if the tree was
        changed so: then the text to run has to be made from it, and judged again.
        """
        if tree.get("type") not in grammar.STATEMENTS:
            raise _denied("this kind of statement is not for people")
        judgement = _Judgement(self)
        judgement.visit(tree)
        return judgement.has_changed


class _Judgement:
    """One walk over a tree. A judge returns the keys that need no further walk."""

    def __init__(self, wall: Wall) -> None:
        self._wall = wall
        self.has_changed = False
        self._judges: Mapping[str, Callable[[Node], frozenset[str]]] = {
            "ColumnsApplyTransformer": self._apply,
            "ExplainQuery": self._explain,
            "Function": self._function,
            "Identifier": self._identifier,
            "Literal": lambda _: frozenset({"value"}),
            "QueryParameter": self._parameter,
            "SelectWithUnionQuery": self._format,
            "SetQuery": self._settings,
            "ShowColumnsQuery": self._show_columns,
            "ShowTablesQuery": self._show_tables,
            "TableExpression": self._table_expression,
            "TableIdentifier": self._table,
        }

    def visit(self, node: Node) -> None:
        kind = str(node.get("type"))
        keys = grammar.GRAMMAR.get(kind)
        if keys is None:
            raise _denied(f"a part of the statement ({kind}) is not allowed here")
        for key, value in node.items():
            if key not in keys and value is not False:
                raise _denied(f"a part of the statement ({kind}: {key}) is not allowed here")
        judge = self._judges.get(kind)
        self._below(node, judge(node) if judge is not None else _NOTHING)

    def _below(self, node: Node, known: frozenset[str]) -> None:
        for key, value in node.items():
            if key in known:
                continue
            for child in value if isinstance(value, list) else (value,):
                if isinstance(child, dict):
                    self.visit(child)
                elif isinstance(child, list):
                    raise _denied(f"a part of the statement ({key}) is not allowed here")

    def _explain(self, node: Node) -> frozenset[str]:
        if node.get("kind") not in grammar.EXPLAINS:
            raise _denied("of EXPLAIN there are AST, SYNTAX and QUERY TREE")
        self._format(node)
        settings = node.get("settings") or {}
        if not settings.keys() <= {"type", "changes"}:
            raise _denied("an option of EXPLAIN is not allowed here")
        for change in settings.get("changes", ()):
            check_explain_setting(change["name"])
        return frozenset({"settings"})

    def _format(self, node: Node) -> frozenset[str]:
        wanted = node.get("format_ast")
        if wanted is not None and not is_permitted(str(wanted.get("name"))):
            raise Refusal(73, "UNKNOWN_FORMAT", "The format is unknown or not for people")
        return _NOTHING

    def _settings(self, node: Node) -> frozenset[str]:
        for change in node.get("changes", ()):
            value = change["value"]
            if change.keys() != {"name", "value"} or value["field_type"] not in _NUMBERS_AND_TEXTS:
                raise _denied("a setting's value is not allowed here")
            self._wall.settings.check_clause(change["name"], value["value"])
        return frozenset({"changes"})

    def _apply(self, node: Node) -> frozenset[str]:
        if "func_name" in node:
            self._check_function(node["func_name"])
        return _NOTHING

    def _function(self, node: Node) -> frozenset[str]:
        self._check_function(node["name"])
        arguments = (node.get("arguments") or {}).get("children", [])
        if _IN.fullmatch(node["name"]) and len(arguments) > 1:
            table = arguments[1]
            if table.get("type") == "Identifier" and len(self._parts(table)) > 1:
                self._table(table)
        return _NOTHING

    def _check_function(self, name: str) -> None:
        if is_harmless(name):
            return
        if name.lower() not in self._wall.functions:
            raise Refusal(46, "UNKNOWN_FUNCTION", f"Unknown function {name[:128]}")
        raise _denied(f"the function {name[:128]} is not for people")

    def _table_expression(self, node: Node) -> frozenset[str]:
        function = node.get("table_function")
        if function is None:
            return _NOTHING
        if function.get("type") != "Function" or not is_harmless_table_function(function["name"]):
            raise _denied(f"the table function {str(function.get('name'))[:128]} is not for people")
        if not function.keys() <= {"type", "name", "arguments", "alias", "is_operator"}:
            raise _denied("a part of the table function is not allowed here")
        if "arguments" in function:
            self.visit(function["arguments"])
        return frozenset({"table_function"})

    def _parameter(self, node: Node) -> frozenset[str]:
        if "identifier" in str(node.get("param_type")).lower():
            raise _denied("an identifier cannot be a parameter here")
        return _NOTHING

    def _identifier(self, node: Node) -> frozenset[str]:
        parts = self._parts(node)
        first = parts[0].lower()
        if len(parts) > 1 and (
            first in self._wall.databases
            or first in _SYSTEM_DATABASES
            or first.startswith(_OUR_PREFIXES)
        ):
            self._qualified(node, parts)
        return _NOTHING

    def _table(self, node: Node) -> frozenset[str]:
        parts = self._parts(node)
        if len(parts) > 2:
            raise _no_table(parts)
        if len(parts) == 2:
            self._qualified(node, parts)
        return _NOTHING

    def _qualified(self, node: Node, parts: list[str]) -> None:
        """A name whose first part is, or may be, a database."""
        rights = self._wall.rights
        database, table = parts[0], parts[1]
        if rights.may_use(database):
            return
        if database == CATALOG and self._wall.views_in_place and table in rights.views:
            return
        if database != "system":
            raise _no_table(parts)
        if rights.is_analyst and table in FILTERED:
            self._replace(node, parts)
        elif not rights.may_read_system(table):
            raise _no_table(parts)

    def _replace(self, node: Node, parts: list[str]) -> None:
        if self._wall.views_in_place:
            raise _no_table(parts)
        if node["type"] == "TableIdentifier":
            node.setdefault("alias", parts[1])
        if node["type"] == "TableIdentifier" or len(parts) == 2:
            _rename(node, [CATALOG, self._wall.rights.view_of(parts[1])])
        else:
            _rename(node, parts[1:])
        self.has_changed = True

    def _parts(self, node: Node) -> list[str]:
        """The name's parts, parameters put in their place."""
        parts = list(node.get("name_parts") or [node["name"]])
        parameters = node.pop("children", [])
        if parameters:
            values = iter([self._identifier_value(parameter) for parameter in parameters])
            parts = [part or next(values, "") for part in parts]
            if not all(parts) or next(values, None) is not None:
                raise _denied("an identifier cannot be made of these parameters")
            _rename(node, parts)
            self.has_changed = True
        return parts

    def _identifier_value(self, parameter: Node) -> str:
        if parameter.get("type") != "QueryParameter":
            raise _denied("an identifier cannot be made of this")
        value = self._wall.parameters.get(parameter["name"])
        if value is None:
            name = parameter["name"][:128]
            raise Refusal(456, "UNKNOWN_QUERY_PARAMETER", f"Substitution `{name}` is not set")
        if not _PLAIN_NAME.fullmatch(value):
            raise _denied("an identifier given as parameter must be a plain name")
        return value

    def _show_tables(self, node: Node) -> frozenset[str]:
        self._format(node)
        self._check_pattern(node)
        if "from" in node:
            self._check_database(".".join(self._parts(node["from"])))
        return _NOTHING

    def _show_columns(self, node: Node) -> frozenset[str]:
        self._format(node)
        self._check_pattern(node)
        if "database" in node:
            self._check_database(node["database"])
        if not _PLAIN_NAME.fullmatch(node["table"]):
            raise _no_table([node["table"]])
        return _NOTHING

    def _check_pattern(self, node: Node) -> None:
        if not _PATTERN.fullmatch(node.get("like", "")):
            raise _denied("the pattern holds a character that is not allowed here")

    def _check_database(self, name: str) -> None:
        if not _PLAIN_NAME.fullmatch(name) or not (
            self._wall.rights.may_use(name) or name == "system"
        ):
            raise no_database(name)


_IN: Final = re.compile(r"(?:global)?(?:not)?(?:null)?in(?:ignoreset)?", re.IGNORECASE)


def _rename(node: Node, parts: list[str]) -> None:
    node["name"] = ".".join(parts)
    node["name_parts"] = parts
    if len(parts) == 1:
        del node["name_parts"]


def _denied(why: str) -> Refusal:
    return Refusal(497, "ACCESS_DENIED", f"Not enough privileges: {why}")


def _no_table(parts: list[str]) -> Refusal:
    name = ".".join(parts)[:256]
    return _denied(f"there is no table {name} that you may read")


def no_database(name: str) -> Refusal:
    """The same whether there is none of that name or it is somebody else's."""
    return Refusal(81, "UNKNOWN_DATABASE", f"Database {name[:128]} does not exist")
