"""Whether events keep to their schemas: the shipped ones, and those of a folder."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.schemas.definition import Definition, define
from headrace.schemas.outcomes import Code
from headrace.schemas.reasons import MAX_PATH_CHARACTERS
from headrace.schemas.taxonomy import (
    BadTaxonomy,
    Taxonomy,
    compile_definition,
    load_definitions,
    load_taxonomy,
)

SHIPPED = load_definitions()
TAXONOMY = load_taxonomy()
EVENTS = [one.event for one in SHIPPED]
PROMISED = """paywall_viewed trial_started subscription_started subscription_renewed
    subscription_cancelled subscription_expired billing_issue purchase refund app_opened
    screen_viewed signup login onboarding_step experiment_exposed push_opened feature_used"""


def name_of(definition: Definition) -> str:
    return definition.event


def write(folder: Path, event: str, **schema: Any) -> Path:
    file = folder / f"{event}.json"
    file.write_text(json.dumps(schema))
    return file


def test_the_promised_event_types_are_there() -> None:
    """At least thirty event types ship, the promised ones among them, each once."""
    assert len(EVENTS) >= 30
    assert set(PROMISED.split()) <= set(EVENTS)
    assert all(TAXONOMY.has(event) for event in EVENTS)


@pytest.mark.parametrize("definition", SHIPPED, ids=name_of)
def test_every_example_is_valid(definition: Definition) -> None:
    """A schema's own examples keep to it, and there is at least one."""
    examples = definition.document["examples"]
    assert examples
    for example in examples:
        assert TAXONOMY.check(definition.event, example) is None
        assert set(example) <= set(definition.document["properties"])


@pytest.mark.parametrize("definition", SHIPPED, ids=name_of)
def test_properties_are_recommended_never_required(definition: Definition) -> None:
    """Nothing is required, more may be sent, null counts as absent, all is described."""
    document = definition.document
    assert "required" not in document
    assert "additionalProperties" not in document
    assert document["$id"] == definition.event
    assert document["title"]
    assert document["description"]
    for name, schema in document["properties"].items():
        assert schema["description"], name
        assert TAXONOMY.check(definition.event, {name: None}) is None
    assert TAXONOMY.check(definition.event, {"something else": [1, {"a": None}]}) is None


@pytest.mark.parametrize("definition", SHIPPED, ids=name_of)
def test_every_property_refuses_a_wrong_type(definition: Definition) -> None:
    """Whatever a property is, an object where none belongs is rejected, at its path."""
    for name in definition.document["properties"]:
        outcome = TAXONOMY.check(definition.event, {name: {"a": 1}})
        assert outcome is not None, name
        assert outcome.code is Code.SCHEMA_VIOLATION
        assert outcome.path == f"$.properties.{name}"
        assert outcome.schema == definition.id


@pytest.mark.parametrize(
    ("event", "properties", "path", "reason"),
    [
        (
            "purchase",
            {"price": "9.99"},
            "$.properties.price",
            'expected number or null, got the string "9.99"',
        ),
        (
            "purchase",
            {"amount": True},
            "$.properties.amount",
            "expected number or null, got true",
        ),
        (
            "paywall_viewed",
            {"plan_ids": ["a", 3]},
            "$.properties.plan_ids[1]",
            "expected string, got the number 3",
        ),
        (
            "paywall_viewed",
            {"plan_ids": "plan_annual_usd"},
            "$.properties.plan_ids",
            'expected array or null, got the string "plan_annual_usd"',
        ),
        (
            "purchase",
            {"items": [{"price": 1}, {"price": "1"}]},
            "$.properties.items[1].price",
            'expected number or null, got the string "1"',
        ),
        (
            "purchase",
            {"currency": "usd"},
            "$.properties.currency",
            'expected text that matches ^[A-Z]{3}$, got the string "usd"',
        ),
        (
            "plan_changed",
            {"direction": "sideways"},
            "$.properties.direction",
            'expected one of "upgrade", "downgrade", "crossgrade", null, got the string "sideways"',
        ),
        (
            "trial_started",
            {"trial_length_days": 7.5},
            "$.properties.trial_length_days",
            "expected integer or null, got the number 7.5",
        ),
        (
            "trial_started",
            {"trial_length_days": -1},
            "$.properties.trial_length_days",
            "expected at least 0, got the number -1",
        ),
        (
            "trial_started",
            {"expires_at": "tomorrow"},
            "$.properties.expires_at",
            'expected text in the format date-time, got the string "tomorrow"',
        ),
        (
            "login",
            {"method": {"name": "google"}},
            "$.properties.method",
            'expected string or null, got the object {"name": "google"}',
        ),
    ],
)
def test_a_violation_says_where_what_and_what_was_expected(
    event: str, properties: dict[str, Any], path: str, reason: str
) -> None:
    """The path points at the value, the reason names it and what belongs there."""
    outcome = TAXONOMY.check(event, properties)
    assert outcome is not None
    assert (outcome.path, outcome.reason) == (path, reason)


def test_a_long_value_is_shortened() -> None:
    """A reason stays short, whatever was sent."""
    outcome = TAXONOMY.check("purchase", {"price": "9" * 60_000})
    assert outcome is not None
    assert len(outcome.reason) < 200
    assert "999..." in outcome.reason


def test_a_whole_number_may_be_written_as_a_fraction() -> None:
    """JSON has one kind of number: 7.0 is an integer."""
    assert TAXONOMY.check("trial_started", {"trial_length_days": 7.0}) is None


def test_an_event_without_a_schema_passes() -> None:
    """Any event name may be sent; only known ones are checked."""
    assert not TAXONOMY.has("lifecycle_activity")
    assert TAXONOMY.check("lifecycle_activity", {"price": "9.99"}) is None


def test_a_folder_replaces_the_shipped_types(tmp_path: Path) -> None:
    """With a folder of one's own, only the event types in it have schemas."""
    write(tmp_path, "Order Completed", properties={"total": {"type": "number"}})
    taxonomy = load_taxonomy(tmp_path)
    assert taxonomy.has("Order Completed")
    assert not taxonomy.has("purchase")
    outcome = taxonomy.check("Order Completed", {"total": "1"})
    assert outcome is not None
    assert outcome.schema.startswith("Order Completed@")


def test_required_and_closed_objects_name_the_properties(tmp_path: Path) -> None:
    """Schemas of one's own may require and forbid; the reason names what and which."""
    write(
        tmp_path,
        "order",
        properties={"id": {"type": "string"}, "total": {"type": "number"}},
        required=["id", "total"],
        additionalProperties=False,
    )
    taxonomy = load_taxonomy(tmp_path)
    missing = taxonomy.check("order", {"id": "1"})
    assert missing is not None
    assert missing.path == "$.properties"
    assert missing.reason == 'expected every property that is required, missing: "total"'
    unknown = taxonomy.check("order", {"id": "1", "total": 1, "totl": 2})
    assert unknown is not None
    assert unknown.reason == 'expected only the properties that are named, got also: "totl"'


def test_a_definition_can_be_referred_to_in_its_file(tmp_path: Path) -> None:
    """`#/definitions/…` works, and paths go on through it."""
    money = {"type": "object", "properties": {"value": {"type": "number"}}}
    write(
        tmp_path,
        "order",
        definitions={"money": money},
        properties={"prices": {"type": "array", "items": {"$ref": "#/definitions/money"}}},
    )
    outcome = load_taxonomy(tmp_path).check("order", {"prices": [{"value": 1}, {"value": "x"}]})
    assert outcome is not None
    assert outcome.path == "$.properties.prices[1].value"


@pytest.mark.parametrize("name", ["a.b", "{x}", 'quo"te', "new\nline", "", "ключ", "$ref", "a\\b"])
def test_a_property_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Names that mean something to templates, paths or Python are names like others."""
    write(tmp_path, "odd", properties={name: {"type": "number"}})
    taxonomy = load_taxonomy(tmp_path)
    assert taxonomy.check("odd", {name: 1}) is None
    outcome = taxonomy.check("odd", {name: "1"})
    assert outcome is not None
    assert outcome.path == f"$.properties.{name}"


def test_names_that_differ_in_punctuation_have_their_own_rules(tmp_path: Path) -> None:
    """`a_b`, `a-b` and `aB` are three properties."""
    types = {"a_b": "string", "a-b": "number", "ab": "boolean", "aB": "array"}
    write(tmp_path, "close", properties={name: {"type": kind} for name, kind in types.items()})
    taxonomy = load_taxonomy(tmp_path)
    assert taxonomy.check("close", {"a_b": "x", "a-b": 1, "ab": True, "aB": []}) is None
    for name in types:
        outcome = taxonomy.check("close", {name: {}})
        assert outcome is not None
        assert outcome.path == f"$.properties.{name}"


def test_every_broken_file_is_named(tmp_path: Path) -> None:
    """One look at the error is enough to mend all files."""
    write(tmp_path, "good", type="object")
    bad = write(tmp_path, "bad", properties={"price": {"type": "numbr"}})
    worse = tmp_path / "worse.json"
    worse.write_text("{")
    with pytest.raises(BadTaxonomy) as raised:
        load_taxonomy(tmp_path)
    text = str(raised.value)
    assert f'{bad} $.properties.price.type is "numbr"' in text
    assert f"{worse} is not JSON" in text
    assert "good.json" not in text


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_without_schemas_is_refused(tmp_path: Path, folder: str) -> None:
    """An empty or missing folder is a mistake, not a taxonomy of nothing."""
    with pytest.raises(BadTaxonomy, match="no event schemas in"):
        load_taxonomy(tmp_path / folder)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=())),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=())), children, max_size=4)
    ),
    max_leaves=12,
)
NAMES = sorted({name for one in SHIPPED for name in one.document["properties"]})
PROPERTIES = st.dictionaries(st.sampled_from(NAMES) | st.text(), JSON, max_size=6)

HOSTILE: dict[str, Any] = {
    "properties": {
        "step": {"multipleOf": 0.01},
        "one": {"oneOf": [{"type": "string", "minLength": 2}, {"type": ["string", "number"]}]},
        "list": {"uniqueItems": True, "contains": {"type": "string"}, "maxItems": 2},
        "tree": {"$ref": "#/definitions/tree"},
    },
    "patternProperties": {"^x": {"type": "number"}},
    "additionalProperties": {"type": ["number", "string"], "pattern": "^[a-z]*$"},
    "propertyNames": {"maxLength": 20},
    "definitions": {"tree": {"additionalProperties": {"$ref": "#/definitions/tree"}}},
}


HOSTILE_TAXONOMY = Taxonomy([compile_definition(define("hostile", HOSTILE))])
HOSTILE_PROPERTIES = st.dictionaries(
    st.sampled_from(["step", "one", "list", "tree", "xa", "{data}", "a"])
    | st.text(st.characters(exclude_categories=())),
    JSON,
    max_size=6,
)


def check_is_total(taxonomy: Taxonomy, event: str, properties: dict[str, Any]) -> None:
    before = copy.deepcopy(properties)
    outcome = taxonomy.check(event, properties)
    assert repr(properties) == repr(before)  # NaN is not equal to itself
    if outcome is not None:
        assert outcome.path.startswith("$.properties")
        assert len(outcome.path) <= MAX_PATH_CHARACTERS
        assert len(outcome.reason) <= 1_000
        (outcome.path + outcome.reason).encode("utf-8")


@given(event=st.sampled_from(EVENTS), properties=PROPERTIES)
def test_a_check_never_raises_and_changes_nothing(event: str, properties: dict[str, Any]) -> None:
    """Whatever JSON comes: an outcome that can be stored, and the properties as they were."""
    check_is_total(TAXONOMY, event, properties)


@given(properties=HOSTILE_PROPERTIES)
def test_a_check_of_any_keyword_never_raises(properties: dict[str, Any]) -> None:
    """The same for schemas that use every keyword there is."""
    check_is_total(HOSTILE_TAXONOMY, "hostile", properties)
