"""Types made of schemas: what a type takes, its schema takes."""

from __future__ import annotations

import json
from typing import Any

import fastjsonschema
import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.schemas.quick import taker
from headrace.schemas.taxonomy import load_definitions, load_taxonomy

SHIPPED = load_definitions()
TAXONOMY = load_taxonomy()
TEXTS = st.sampled_from(
    [
        "",
        "EUR",
        "EUR\n",
        "eur",
        "P1M",
        "cold",
        "2024-03-22T14:22:00Z",
        "2024-03-22 14:22:00Z",
        "2024-03-22T14:22:00Z\n",
        "2024-99-22T14:22:00Z",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)


@st.composite
def events(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """An event type, and properties of its names with any values."""
    definition = draw(st.sampled_from(SHIPPED))
    names = st.sampled_from(sorted(definition.rules["properties"]))
    return definition.event, draw(st.dictionaries(names | st.text(max_size=3), VALUES))


@given(events(), st.booleans())
def test_what_a_type_takes_its_schema_takes(
    event: tuple[str, dict[str, Any]], escaped: bool
) -> None:
    """Whatever the values, however they are written."""
    name, properties = event
    text = json.dumps(properties)
    if escaped:
        for key in properties:
            text = text.replace(
                f"{json.dumps(key)}: ", '"' + "".join(f"\\u{ord(c):04x}" for c in key) + '": '
            )
    if not TAXONOMY.is_doubtful(name, text.encode()):
        assert TAXONOMY.check(name, orjson.loads(text)) is None


@pytest.mark.parametrize("definition", SHIPPED, ids=lambda one: one.event)
def test_every_shipped_schema_has_a_type_that_takes_its_examples(definition: Any) -> None:
    """Otherwise it would only cost."""
    for example in definition.document["examples"]:
        assert not TAXONOMY.is_doubtful(definition.event, json.dumps(example).encode())


def test_an_event_without_schema_is_not_doubtful() -> None:
    """Nobody has anything to say about it."""
    assert not TAXONOMY.is_doubtful("unheard of", b'{"a":1}')


RULES: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": ["string", "null"]},
    {"type": "string", "minLength": 2, "maxLength": 3},
    {"type": "string", "pattern": "^[A-Z]{3}$"},
    {"type": "string", "pattern": "[0-9]"},
    {"type": "string", "pattern": "a$|b$"},
    {"type": "string", "pattern": r"\$$"},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "email"},
    {"type": "string", "format": "date-time", "pattern": "Z$"},
    {"type": "integer", "minimum": 0},
    {"type": "integer", "maximum": 2**60},
    {"type": "number", "minimum": 0, "maximum": 1.5},
    {"type": ["integer", "number"], "minimum": 1},
    {"type": "number", "multipleOf": 0.5},
    {"type": "number", "maximum": 2**53},
    {"type": "string", "maxLength": 2**63},
    {"type": "object", "properties": {'say "hi"': {"type": "string"}}},
    {"type": "boolean"},
    {"type": "null"},
    {"type": "array"},
    {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
    {"type": "array", "items": [{"type": "integer"}]},
    {"type": "array", "uniqueItems": True},
    {"type": ["array", "string"], "items": {"type": "string"}, "maxLength": 1},
    {"type": "object", "properties": {"a": {"type": "string"}}},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
    {"type": "object", "properties": {"a": True}, "additionalProperties": {"type": "string"}},
    {"type": "object", "required": ["a"]},
    {"type": "object", "properties": {"a": {"type": ["string", "null"], "format": "uri"}}},
    {"type": "object", "properties": {"a": {"not": {}}}},
    {"type": "object", "properties": {"": {"type": "null"}, "$": {"type": "null"}}},
    {"enum": ["a", "b", None]},
    {"enum": ["a", 1]},
    {"type": "string", "enum": ["a", None]},
    {"type": ["string", "null"], "enum": ["a"]},
    {"type": "integer", "enum": [1]},
    {"enum": [None], "type": "string"},
    {"minimum": 3},
    {"anyOf": [{"type": "string"}]},
    {},
]
TRIED: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        1.0,
        1.5,
        2**53 + 1,
        {'say "hi"': 1},
        2**60,
        2**60 + 1,
        2**70,
        1e300,
        "",
        "a",
    ),
    *("ab", "ABC", "ABC\n", "abcd", "é", "1", "$", "$\n", "x@y.de", "2024-03-22T14:22:00Z"),
    *("2024-03-22T14:22:00+01:00", "2024-03-22T14:22:00", "2024-03-22 14:22:00Z", "12"),
    *([], [1], [1, 2, 3], [1, 1], ["a"], [None], {}, {"a": "x"}, {"a": None}, {"b": 1}),
    *({"a": "x", "b": 1}, {"": 1}, {"$": None}, {"a": {"a": 1}}),
]


@pytest.mark.parametrize("rules", RULES, ids=json.dumps)
def test_a_type_is_never_wider_than_its_schema(rules: dict[str, Any]) -> None:
    """Each kind of value against each keyword there is a type for, and some there is none for."""
    takes = taker(rules)
    keeps = fastjsonschema.compile({"$schema": "http://json-schema.org/draft-07/schema#", **rules})
    for value in TRIED:
        if takes is not None and takes(msgspec.Raw(json.dumps(value).encode())):
            keeps(value)


USUAL: list[tuple[dict[str, Any], list[Any]]] = [
    (RULES[0], ["", "a"]),
    (RULES[1], ["a", None]),
    (RULES[3], ["ABC"]),
    (RULES[7], ["2024-03-22T14:22:00Z", "2024-03-22T14:22:00+01:00"]),
    (RULES[10], [0, 2**60]),
    (RULES[12], [0, 1, 1.5]),
    (RULES[21], [[1], [1, 2]]),
    (RULES[25], [{}, {"a": "x", "b": 1}]),
    (RULES[33], ["a", None]),
]


@pytest.mark.parametrize(
    ("rules", "value"), [(rules, value) for rules, values in USUAL for value in values]
)
def test_what_is_usual_is_taken(rules: dict[str, Any], value: Any) -> None:
    """Or the types were good for nothing."""
    takes = taker(rules)
    assert takes is not None
    assert takes(msgspec.Raw(json.dumps(value).encode()))


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 5_000, b'{"a":1e999}', b'{"a":"\xff"}'])
def test_what_cannot_be_read_is_not_taken(text: bytes) -> None:
    """The schema's way decides about it, and nothing is raised."""
    takes = taker({"type": "object", "properties": {"a": {"type": ["string", "number"]}}})
    assert takes is not None
    assert not takes(msgspec.Raw(text))
