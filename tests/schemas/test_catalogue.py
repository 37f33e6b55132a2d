"""The page about event types says what the schemas say."""

from __future__ import annotations

from pathlib import Path

from headrace.schemas.catalogue import markdown
from headrace.schemas.definition import define
from headrace.schemas.taxonomy import load_definitions

PAGE = Path(__file__).parents[2] / "docs" / "events.md"


def test_the_page_is_up_to_date() -> None:
    """Made anew with `python -m headrace.schemas.catalogue > docs/events.md`."""
    assert PAGE.read_text(encoding="utf-8") == markdown(load_definitions())


def test_a_type_is_shown_with_its_properties_and_an_example() -> None:
    """Types, patterns, closed lists and what lies in arrays are readable."""
    page = markdown(
        [
            define(
                "order",
                {
                    "description": "An order.",
                    "properties": {
                        "currency": {"type": ["string", "null"], "pattern": "^[A-Z]{3}$"},
                        "kind": {"enum": ["a", "b", None], "description": "Which."},
                        "at": {"type": "string", "format": "date-time"},
                        "tags": {"type": "array", "items": {"type": "string"}},
                        "items": {
                            "type": "array",
                            "items": {"type": "object", "properties": {"id": {"type": "string"}}},
                        },
                    },
                    "examples": [{"kind": "a"}],
                },
            )
        ]
    )
    assert "- [`order`](#order): An order." in page
    assert "| `currency` | string (`^[A-Z]{3}$`) |  |" in page
    assert "| `kind` | `a`, `b` | Which. |" in page
    assert "| `at` | date-time |  |" in page
    assert "| `tags` | array of strings |  |" in page
    assert "| `items[].id` | string |  |" in page
    assert '```json\n{\n  "kind": "a"\n}\n```' in page
