"""JSON Schemas as msgspec types: properties that plainly keep to their schema, quickly.

Owns which part of JSON Schema has such a type. What a type takes, its schema takes; what it does
not take is judged by the schema itself, which also has the reasons. So a type may be narrower
than its schema (of a `format` it knows the usual `date-time` only), never wider.

Parsing into Python objects is most of what validating costs (1.3 of 1.9 µs); a type skips what it
need not look at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, Union

import msgspec
from msgspec import Meta, Raw

Takes = Callable[[bytes], bool]
"""Whether JSON plainly keeps to a schema; False where the schema itself must be asked."""

_OF_ANY: Final = frozenset({"type"})
_OF_TYPE: Final[Mapping[str, frozenset[str]]] = {
    "array": frozenset({"items", "maxItems", "minItems"}),
    "boolean": frozenset(),
    "integer": frozenset({"maximum", "minimum"}),
    "null": frozenset(),
    "number": frozenset({"maximum", "minimum"}),
    "object": frozenset({"additionalProperties", "properties", "required"}),
    "string": frozenset({"format", "maxLength", "minLength", "pattern"}),
}
_EXACT: Final = 2**53
"""Below, every integer is a double, so that comparing doubles is comparing numbers."""
_DATE_TIME: Final = (
    r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:Z|[+-][0-2][0-9]:[0-5][0-9])\Z"
)
_NOTHING: Final = Annotated[int, Meta(ge=1, le=0)]


class _HasNoType(Exception):
    """The schema says something that no type does."""


def taker(rules: Mapping[str, Any]) -> Takes | None:
    """The type of a schema without annotations, ready to use; None if it has none."""
    try:
        decode = msgspec.json.Decoder(_type_of(rules)).decode
    except (_HasNoType, RecursionError, TypeError, ValueError):  # msgspec's, for what it cannot
        return None

    def takes(properties: bytes) -> bool:
        try:
            decode(properties)
        except (ValueError, RecursionError):
            return False
        return True

    return takes


def _type_of(rules: Any) -> Any:
    if rules is True or rules == {}:
        return Raw
    if isinstance(rules, dict) and "enum" in rules:
        return _enum(rules)
    if not isinstance(rules, dict) or "type" not in rules:
        raise _HasNoType
    named = _named(rules["type"])
    if "number" in named:
        named = [name for name in named if name != "integer"]
    known = _OF_ANY.union(*(_OF_TYPE[name] for name in named))
    if not rules.keys() <= known:
        raise _HasNoType
    return Union[tuple(_TYPES[name](rules) for name in named)]  # noqa: UP007 - made at run time


def _named(types: str | list[str]) -> list[str]:
    return types if isinstance(types, list) else [types]


def _array(rules: Mapping[str, Any]) -> Any:
    bounds = Meta(min_length=rules.get("minItems"), max_length=rules.get("maxItems"))
    return Annotated[list[_type_of(rules.get("items", True))], bounds]  # type: ignore[misc]  # made at run time


def _number(rules: Mapping[str, Any], kind: Any = float) -> Any:
    bounds = rules.get("minimum"), rules.get("maximum")
    if any(bound is not None and abs(bound) >= _EXACT for bound in bounds):
        raise _HasNoType
    return Annotated[kind, Meta(ge=bounds[0], le=bounds[1])]


def _integer(rules: Mapping[str, Any]) -> Any:
    return _number(rules, int)


def _enum(rules: Mapping[str, Any]) -> Any:
    named = _named(rules.get("type", ["string", "null"]))
    if not rules.keys() <= {"enum", "type"} or not {"string", "null"}.issuperset(named):
        raise _HasNoType
    taken = [one for one in rules["enum"] if ("null" if one is None else "string") in named]
    if not taken or not all(one is None or isinstance(one, str) for one in rules["enum"]):
        raise _HasNoType
    return Literal[tuple(taken)]


def _string(rules: Mapping[str, Any]) -> Any:
    pattern = _pattern(rules.get("pattern"))
    if "format" in rules:
        if rules["format"] != "date-time" or pattern is not None:
            raise _HasNoType
        pattern = _DATE_TIME
    return Annotated[
        str,
        Meta(min_length=rules.get("minLength"), max_length=rules.get("maxLength"), pattern=pattern),
    ]


def _pattern(pattern: str | None) -> str | None:
    """As JSON Schema means it: `$` is the end, not a line feed before it."""
    if pattern is None or "$" not in pattern:
        return pattern
    if pattern.count("$") > 1 or not pattern.endswith("$") or pattern.endswith("\\$"):
        raise _HasNoType
    return pattern[:-1] + r"\Z"


def _object(rules: Mapping[str, Any]) -> Any:
    others = rules.get("additionalProperties", True)
    if others is not True and others is not False:
        raise _HasNoType
    properties = rules.get("properties", {})
    required = rules.get("required", [])
    if not set(required) <= properties.keys():
        raise _HasNoType
    fields: list[tuple[str, Any, Any]] = []
    for index, (name, of_name) in enumerate(properties.items()):
        known = msgspec.field(name=name)
        kind = _property(of_name)
        if name not in required:
            known = msgspec.field(name=name, default=msgspec.UNSET)
            kind = Union[kind, msgspec.UnsetType]  # noqa: UP007 - made at run time
        fields.append((f"p{index}", kind, known))
    return msgspec.defstruct(
        "Properties", fields, kw_only=True, gc=False, forbid_unknown_fields=others is False
    )


def _property(rules: Any) -> Any:
    """A property's type; of one that has none, what can be said of it all the same."""
    try:
        return _type_of(rules)
    except _HasNoType:
        named = _named(rules.get("type", [])) if isinstance(rules, dict) else []
        return None if "null" in named and "enum" not in rules else _NOTHING


_TYPES: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    "array": _array,
    "boolean": lambda _: bool,
    "integer": _integer,
    "null": lambda _: None,
    "number": _number,
    "object": _object,
    "string": _string,
}
