"""Why an event breaks its schema, in words: what was expected and what came instead.

Owns the wording of `rejected_events.reason` and the path beside it. Both are bounded and can
always be stored, whatever the client sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

MAX_VALUE_CHARACTERS: Final = 80
MAX_PATH_CHARACTERS: Final = 300
_LISTED: Final = 10
_INDEX: Final = re.compile(r"\[\d+\]")


def explain(rule: str | None, definition: Any, value: Any) -> str:
    """One sentence fragment: `expected number, got the string "9.99"`."""
    wanted = definition.get(rule) if isinstance(definition, Mapping) and rule else None
    worded = _EXPECTED.get(rule or "")
    expected = worded(wanted) if worded else f"nothing against {rule or 'the schema'}"
    if rule == "required":
        return f"expected {expected}, missing: {_names(set(wanted or ()) - set(value))}"
    if rule == "additionalProperties" and isinstance(value, Mapping):
        unknown = set(value) - set(definition.get("properties", ()))
        return f"expected {expected}, got also: {_names(unknown)}"
    return f"expected {expected}, got {show(value)}"


def show(value: Any) -> str:
    """A value as JSON with its kind, shortened, safe to store."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    kind = _KINDS.get(type(value), "value")
    return f"the {kind} {shorten(_as_json(value), MAX_VALUE_CHARACTERS)}"


def shorten(text: str, characters: int) -> str:
    """At most so many characters, and only such as UTF-8 can hold."""
    if len(text) > characters:
        text = text[: characters - 3] + "..."
    return text.encode("utf-8", "replace").decode("utf-8")


def without_indexes(path: str) -> str:
    """`$.properties.items[3].price` as `$.properties.items[].price`: what many events share."""
    return _INDEX.sub("[]", path)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)


def _names(names: set[str]) -> str:
    shown = ", ".join(shorten(_as_json(name), 40) for name in sorted(names)[:_LISTED])
    return shown + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _types(wanted: Any) -> str:
    return " or ".join(wanted) if isinstance(wanted, list) else str(wanted)


def _values(wanted: Any) -> str:
    return "one of " + ", ".join(map(_as_json, wanted)) if isinstance(wanted, list) else "a value"


_KINDS: Final = {
    str: "string",
    int: "number",
    float: "number",
    list: "array",
    tuple: "array",
    dict: "object",
}
_EXPECTED: Final[Mapping[str, Callable[[Any], str]]] = {
    "additionalProperties": lambda _: "only the properties that are named",
    "anyOf": lambda _: "something that fits one of the alternatives",
    "const": _as_json,
    "contains": lambda _: "an item that fits",
    "enum": _values,
    "exclusiveMaximum": lambda wanted: f"less than {wanted}",
    "exclusiveMinimum": lambda wanted: f"more than {wanted}",
    "format": lambda wanted: f"text in the format {wanted}",
    "maxItems": lambda wanted: f"at most {wanted} items",
    "maxLength": lambda wanted: f"at most {wanted} characters",
    "maxProperties": lambda wanted: f"at most {wanted} properties",
    "maximum": lambda wanted: f"at most {wanted}",
    "minItems": lambda wanted: f"at least {wanted} items",
    "minLength": lambda wanted: f"at least {wanted} characters",
    "minProperties": lambda wanted: f"at least {wanted} properties",
    "minimum": lambda wanted: f"at least {wanted}",
    "multipleOf": lambda wanted: f"a multiple of {wanted}",
    "not": lambda _: "anything but this",
    "oneOf": lambda _: "something that fits exactly one of the alternatives",
    "pattern": lambda wanted: f"text that matches {wanted}",
    "required": lambda _: "every property that is required",
    "type": _types,
    "uniqueItems": lambda _: "items that differ",
}
