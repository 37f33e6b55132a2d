"""Which event a line becomes, by the paths that were given."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.runtime.sending.mapping import Fields, Mapper, Unmapped, parse_path
from headrace.schemas.errors import HeadraceError

TIME = "2026-01-01T00:00:00Z"


def mapped(line: bytes | dict[str, Any], fields: Fields | None = None) -> bytes:
    line = line if isinstance(line, bytes) else json.dumps(line).encode()
    event = Mapper(fields or Fields()).map(line)
    assert isinstance(event, bytes), event
    return event


def refused(line: bytes, fields: Fields | None = None) -> Unmapped:
    event = Mapper(fields or Fields()).map(line)
    assert isinstance(event, Unmapped), event
    return event


def test_our_own_shape_passes_as_it_is() -> None:
    """Without options a line is an event of the API; fields of other names stay behind."""
    line = {"event": "a", "user_id": "u", "anonymous_id": "d", "timestamp": TIME, "x": 1}
    assert json.loads(mapped(line | {"properties": {"p": [1]}})) == {
        "event": "a",
        "user_id": "u",
        "anonymous_id": "d",
        "timestamp": TIME,
        "properties": {"p": [1]},
    }


def test_dotted_paths_lead_into_objects_and_a_dot_means_the_whole() -> None:
    """The mapping of a foreign file: ids inside an object, everything kept as properties."""
    line = b'{"type":"t","timestamp":"' + TIME.encode() + b'","attribute":{"user_id":"u","i":"d"}}'
    fields = Fields("type", "attribute.user_id", "attribute.i", "timestamp", ".")
    event = mapped(line, fields)
    assert json.loads(event) == {
        "event": "t",
        "user_id": "u",
        "anonymous_id": "d",
        "timestamp": TIME,
        "properties": json.loads(line),
    }


@pytest.mark.parametrize(
    ("line", "path", "found"),
    [
        ({"a.b": "exact", "a": {"b": "nested"}}, "a.b", "exact"),
        ({"a": {"b": "nested"}}, "a.b", "nested"),
        ({"a": {"b.c": "inner"}}, "a.b.c", "inner"),
        ({"a.b": {"c": "outer"}}, "a.b.c", "outer"),
        ({"a.b": {"c": "outer"}, "a": {"b": {"c": "nested"}}}, "a.b.c", "outer"),
        ({"a.b": {"x": 1}, "a": {"b": {"c": "nested"}}}, "a.b.c", "nested"),
        ({"a.b": "exact", "a": {"b": "nested"}}, "a\\.b", "exact"),
        ({"a": {"b": "not this"}, "user": {"a.b": "this"}}, "user.a\\.b", "this"),
    ],
)
def test_keys_with_dots_can_be_reached(line: dict[str, Any], path: str, found: str) -> None:
    """The longest key that is there wins at each level; an escaped dot belongs to the key."""
    event = mapped({"event": "e", "timestamp": TIME} | line, Fields(user_id=path))
    assert json.loads(event)["user_id"] == found


def test_an_escaped_dot_does_not_lead_into_objects() -> None:
    """`a\\.b` is the key alone."""
    line = json.dumps({"event": "e", "timestamp": TIME, "a": {"b": "x"}}).encode()
    assert refused(line, Fields(user_id="a\\.b")).code == "no_id"


@pytest.mark.parametrize(
    "properties",
    [
        b'{"n":123456789012345678901234567890,"f":1.10,"e":1e999}',
        b'{"a":1,"a":2,"a.b":1,"a":{"b":2}}',
        b'{"text":"\\u00e9\\/ \xc3\xa9","s": [ 1 , 2 ] }',
        b"[]",
    ],
)
def test_properties_keep_their_bytes(properties: bytes) -> None:
    """Numbers of any size, duplicate keys, escapes and spaces go through untouched."""
    line = b'{"event":"e","user_id":"u","timestamp":"' + TIME.encode() + b'","properties":'
    assert mapped(line + properties + b"}").endswith(b'"properties":' + properties + b"}")


@pytest.mark.parametrize("absent", [{}, {"user_id": None}, {"user_id": ""}])
def test_ids_that_are_null_or_empty_count_as_absent(absent: dict[str, Any]) -> None:
    """Exports write absent ids so."""
    event = mapped({"event": "e", "timestamp": TIME, "anonymous_id": "d"} | absent)
    assert "user_id" not in json.loads(event)


def test_values_of_a_wrong_type_are_the_collectors_to_judge() -> None:
    """They pass, and come back with the collector's own reason."""
    assert json.loads(mapped({"event": 1, "timestamp": 2, "user_id": 3}))["user_id"] == 3


def test_a_lone_surrogate_is_replaced() -> None:
    """JavaScript sends them; a pair stays what it is, and so does an escaped backslash."""
    line = b'{"event":"a\\ud800\\ud83d\\ude00\\\\ud800","user_id":"u","timestamp":"t"}'
    assert b'"a\\ufffd\\ud83d\\ude00\\\\ud800"' in mapped(line)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"not json", "not_json"),
        (b'{"event":"a"', "not_json"),
        (b'{"event":NaN}', "not_json"),
        (b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "not_json"),
        (b'{"a":"\xff"}', "not_utf8"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"{}", "no_event"),
        (b'{"event":"a"}', "no_timestamp"),
        (b'{"event":"a","timestamp":"t"}', "no_id"),
        (b'{"event":"a","timestamp":"t","user_id":null,"anonymous_id":""}', "no_id"),
    ],
)
def test_what_is_no_event_is_told_by_a_code(line: bytes, code: str) -> None:
    """Such lines are counted; they never reach the collector."""
    assert refused(line).code == code


def test_the_reason_names_the_path_and_the_option() -> None:
    """So that a wrong mapping is mended at once."""
    assert "`type` (--event)" in refused(b"{}", Fields(event="type")).reason


@pytest.mark.parametrize("path", ["", "a..b", ".a", "a."])
def test_a_path_with_an_empty_key_is_refused(path: str) -> None:
    """Before anything is sent."""
    with pytest.raises(HeadraceError, match="is not a path"):
        parse_path(path)
