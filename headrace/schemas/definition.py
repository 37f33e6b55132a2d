"""One event type's schema file: read, checked, and brought into the form that is compiled.

Owns what a schema may say. It is JSON Schema draft-07 less what the compiler does wrongly or
what would make it fetch: fastjsonschema opens any `$ref` it does not hold, also `file:` ones
and also inside `enum`, and mixes up `$ref` targets whose names differ only in case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.schemas.errors import HeadraceError

DRAFT: Final = "http://json-schema.org/draft-07/schema#"
FORMATS: Final = ("date", "date-time", "email", "ipv4", "ipv6", "uri")
TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
_LOCAL_REF: Final = re.compile(r"#/definitions/[a-z0-9_]+")

_ANNOTATIONS: Final = {"$schema", "$id", "$comment", "title", "description", "examples", "default"}
_ONE: Final = {
    "additionalItems",
    "additionalProperties",
    "contains",
    "else",
    "if",
    "not",
    "propertyNames",
    "then",
}
_SEVERAL: Final = {"allOf", "anyOf", "oneOf"}
_NAMED: Final = {"definitions", "patternProperties", "properties"}


class BadSchema(HeadraceError):
    """A schema cannot be used; the message says what, without naming the file."""


class Definition(msgspec.Struct, frozen=True):
    """An event type: its name, the schema's id, the file's content, and the rules in it.

    `rules` is the schema without annotations: what is compiled.
    """

    event: str
    id: str
    document: Mapping[str, Any]
    rules: dict[str, Any]


def read_definition(path: Path) -> Definition:
    """The event type that `<event>.json` defines; raises `BadSchema`."""
    try:
        document = json.loads(path.read_bytes(), object_pairs_hook=_no_name_twice)
    except OSError as error:
        raise BadSchema(f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadSchema(f"is not JSON: {error}; mend it or take it away") from error
    return define(path.stem, document)


def define(event: str, document: Any) -> Definition:
    """The event type of this name and schema; raises `BadSchema`."""
    if not isinstance(document, dict):
        raise BadSchema("is not a JSON object; a schema is one")
    if document.get("$schema", DRAFT).rstrip("#") != DRAFT.rstrip("#"):
        raise BadSchema(f"$schema is {document['$schema']!r}; write it in draft-07 ({DRAFT})")
    if document.get("$id", event) != event:
        raise BadSchema(f"$id is {document['$id']!r}; name the file and $id after the event")
    for where, target in _references(document, "$"):
        if not _LOCAL_REF.fullmatch(target):
            raise BadSchema(
                f"{where} refers to {target!r}; only #/definitions/<lower_case_name> in the same "
                "file is allowed: copy what it refers to into the file"
            )
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    digest = sha256(canonical.encode()).hexdigest()[:8]
    return Definition(event, f"{event}@{digest}", document, _rules_of(document, "$"))


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the name {twice[0]!r} comes twice in one object")
    return dict(pairs)


def _references(value: Any, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield f"{where}.$ref", value["$ref"]
        for name, item in value.items():
            yield from _references(item, f"{where}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _references(item, f"{where}[{index}]")


def _rules_of(schema: Any, where: str) -> Any:
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict):
        raise BadSchema(f"{where} is {_kind(schema)}; a schema (an object) belongs there")
    rules = {}
    for keyword, value in schema.items():
        here = f"{where}.{keyword}"
        if keyword in _ONE or (keyword == "items" and not isinstance(value, list)):
            rules[keyword] = _rules_of(value, here)
        elif keyword in _SEVERAL or keyword == "items":
            rules[keyword] = _several(value, here)
        elif keyword in _NAMED:
            rules[keyword] = _named(value, here)
        elif keyword not in _ANNOTATIONS:
            rules[keyword] = _plain(keyword, value, here)
    return rules


def _several(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise BadSchema(f"{where} is {_kind(value)}; a list of schemas belongs there")
    return [_rules_of(item, f"{where}[{index}]") for index, item in enumerate(value)]


def _named(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadSchema(f"{where} is {_kind(value)}; an object of schemas belongs there")
    if where.endswith(".patternProperties"):
        for pattern in value:
            _need(_is_pattern(pattern), f"{where}.{pattern}", pattern, "a regular expression")
    return {name: _rules_of(item, f"{where}.{name}") for name, item in value.items()}


def _plain(keyword: str, value: Any, where: str) -> Any:
    if keyword not in _PLAIN:
        raise BadSchema(
            f"{where} is no keyword that is understood here; see that it is spelt right, "
            "or leave it out"
        )
    fits, expected = _PLAIN[keyword]
    _need(fits(value), where, value, expected)
    return value


def _need(good: bool, where: str, value: Any, expected: str) -> None:
    if not good:
        raise BadSchema(f"{where} is {json.dumps(value)[:80]}; {expected} belongs there")


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_type(value: Any) -> bool:
    several = value if isinstance(value, list) else [value]
    return bool(several) and all(isinstance(one, str) and one in TYPES for one in several)


def _is_pattern(value: Any) -> bool:
    try:
        return isinstance(value, str) and re.compile(value) is not None
    except re.error:
        return False


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_Plain = tuple[Callable[[Any], bool], str]
_NUMBER: Final[_Plain] = (_is_number, "a number")
_COUNT: Final[_Plain] = (_is_count, "a whole number from 0")
_PLAIN: Final[Mapping[str, _Plain]] = {
    "$ref": (lambda value: isinstance(value, str), "a string"),
    "const": (lambda _: True, "anything"),
    "enum": (lambda value: isinstance(value, list) and bool(value), "a list of values"),
    "exclusiveMaximum": _NUMBER,
    "exclusiveMinimum": _NUMBER,
    "format": (lambda value: value in FORMATS, "one of " + ", ".join(FORMATS)),
    "maxItems": _COUNT,
    "maxLength": _COUNT,
    "maxProperties": _COUNT,
    "maximum": _NUMBER,
    "minItems": _COUNT,
    "minLength": _COUNT,
    "minProperties": _COUNT,
    "minimum": _NUMBER,
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "pattern": (_is_pattern, "a regular expression"),
    "required": (_is_names, "a list of names"),
    "type": (_is_type, "one or several of " + ", ".join(TYPES)),
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
}
