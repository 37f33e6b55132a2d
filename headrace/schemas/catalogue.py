"""The catalogue of shipped event types as a page: `docs/events.md`.

Owns the page's form; what it says comes from the schemas. Write it anew with
`python -m headrace.schemas.catalogue > docs/events.md`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from headrace.schemas.definition import Definition
from headrace.schemas.taxonomy import load_definitions

_HEAD: Final = """\
# Event types

Any event name may be sent. For those below Headrace knows the recommended properties: none has
to be there, others may be added, and `null` is the same as leaving one out. One that is there
with another type makes the event a row of `rejected_events`, with the JSON path, the reason and
the schema's id, from where `headrace rejected replay` takes it through again once the schema was
mended. Times are ISO 8601 with an offset (`2024-03-15T14:22:00Z`), money is a number
beside an ISO 4217 currency.

An event type is one JSON Schema (draft-07) in `headrace/schemas/events/`, named after the event;
`HEADRACE_SCHEMAS` names a folder of your own instead. This page is made from those files.
"""


def markdown(definitions: Sequence[Definition]) -> str:
    """The page: a table of contents, then each event type with properties and an example."""
    contents = [
        f"- [`{one.event}`](#{one.event}): {one.document.get('description', '')}"
        for one in definitions
    ]
    sections = ["\n".join(_section(one)) for one in definitions]
    return "\n".join([_HEAD, *contents, "", "\n\n".join(sections)]) + "\n"


def _section(definition: Definition) -> Iterator[str]:
    document = definition.document
    yield f"## {definition.event}"
    yield ""
    yield str(document.get("description", ""))
    yield ""
    yield "| property | type | meaning |"
    yield "|---|---|---|"
    yield from _rows(document.get("properties", {}))
    for example in document.get("examples", [])[:1]:
        yield ""
        yield "```json"
        yield json.dumps(example, ensure_ascii=False, indent=2)
        yield "```"


def _rows(properties: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, schema in properties.items():
        yield f"| `{prefix}{name}` | {_type(schema)} | {schema.get('description', '')} |"
        items = schema.get("items", {})
        yield from _rows(items.get("properties", {}), f"{prefix}{name}[].")


def _type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"] if value is not None)
    names = schema.get("type", "any")
    several = [name for name in names if name != "null"] if isinstance(names, list) else [names]
    if several == ["array"]:
        return f"array of {_type(schema.get('items', {}))}s"
    suffix = f" (`{schema['pattern']}`)" if "pattern" in schema else ""
    return " or ".join(schema.get("format", name) for name in several) + suffix


if __name__ == "__main__":
    sys.stdout.write(markdown(load_definitions()))
