"""What a schema file may say, and what is said about one that says something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.schemas.definition import BadSchema, define, read_definition
from headrace.schemas.taxonomy import compile_definition


def test_the_id_changes_with_the_content_not_with_the_layout() -> None:
    """An id names one content: order and spaces do not matter, a word does."""
    one = define("order", {"title": "Order", "type": "object"})
    same = define("order", {"type": "object", "title": "Order"})
    other = define("order", {"type": "object", "title": "Orders"})
    assert one.id == same.id != other.id
    assert one.id.startswith("order@")
    assert len(one.id) == len("order@") + 8


def test_annotations_are_not_compiled() -> None:
    """Rules are the schema without words, except where a property has such a name."""
    definition = define(
        "order",
        {
            "title": "Order",
            "examples": [{}],
            "properties": {"title": {"type": "string", "description": "x", "default": "y"}},
        },
    )
    assert definition.rules == {"properties": {"title": {"type": "string"}}}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "not a JSON object"),
        ({"$id": "purchase"}, "$id is 'purchase'; name the file and $id after the event"),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema"}, "write it in draft-07"),
        ({"$ref": "http://127.0.0.1:1/x.json"}, "$.$ref refers to"),
        ({"$ref": "file:///etc/passwd"}, "copy what it refers to into the file"),
        ({"$ref": "other.json"}, "only #/definitions/"),
        ({"$ref": "#"}, "only #/definitions/"),
        ({"properties": {"a": {"$ref": "#/definitions/aB"}}}, "$.properties.a.$ref refers to"),
        ({"enum": [{"$ref": "http://127.0.0.1:1/"}]}, "$.enum[0].$ref refers to"),
        ({"examples": [{"$ref": "http://127.0.0.1:1/"}]}, "$.examples[0].$ref refers to"),
        ({"requried": ["a"]}, "$.requried is no keyword that is understood here"),
        ({"contentEncoding": "base64"}, "$.contentEncoding is no keyword"),
        ({"type": "numbr"}, '$.type is "numbr"; one or several of array, boolean'),
        ({"properties": {"a": {"pattern": "("}}}, '$.properties.a.pattern is "("; a regular'),
        ({"patternProperties": {"(": {}}}, "$.patternProperties.( is"),
        ({"properties": []}, "$.properties is a list; an object of schemas belongs there"),
        ({"properties": {"a": "string"}}, "$.properties.a is a str; a schema"),
        ({"anyOf": {}}, "$.anyOf is a dict; a list of schemas belongs there"),
        ({"items": None}, "$.items is null; a schema"),
        ({"minLength": -1}, "$.minLength is -1; a whole number from 0 belongs there"),
        ({"minimum": "0"}, '$.minimum is "0"; a number belongs there'),
        ({"multipleOf": 0}, "$.multipleOf is 0; a number above 0 belongs there"),
        ({"required": "id"}, '$.required is "id"; a list of names belongs there'),
        ({"format": "idn-hostname"}, '$.format is "idn-hostname"; one of date, date-time'),
        ({"enum": []}, "$.enum is []; a list of values belongs there"),
    ],
)
def test_a_bad_schema_is_refused_with_place_and_remedy(document: Any, said: str) -> None:
    """The message points at the place and says what belongs there."""
    with pytest.raises(BadSchema) as raised:
        define("order", document)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ('{"properties": {"a": {}, "a": {}}}', "the name 'a' comes twice in one object"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_file_that_is_not_json_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """A torn or doubled file is told apart from a wrong schema."""
    file = tmp_path / "order.json"
    file.write_text(text)
    with pytest.raises(BadSchema, match=said):
        read_definition(file)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A folder with a schema's name, say."""
    (tmp_path / "order.json").mkdir()
    with pytest.raises(BadSchema, match="cannot be read: Is a directory"):
        read_definition(tmp_path / "order.json")


def test_a_reference_to_nothing_is_refused_when_compiled() -> None:
    """`#/definitions/money` without such a definition."""
    definition = define("order", {"properties": {"a": {"$ref": "#/definitions/money"}}})
    with pytest.raises(BadSchema, match="does not compile"):
        compile_definition(definition)
