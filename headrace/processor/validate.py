"""Events against the schemas of the taxonomy. Pure.

Only an event that has a schema and does not plainly keep to it is parsed into Python objects.
Properties that cannot be parsed (`1e999`, invalid UTF-8) are left to the store, which refuses
them with its own reason.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from headrace.processor.ranges import Range
from headrace.schemas.outcomes import Rejected
from headrace.schemas.taxonomy import Taxonomy


def validate_against(taxonomy: Taxonomy) -> Callable[[Range], None]:
    """The step that rejects what breaks its schema."""

    is_doubtful = taxonomy.is_doubtful

    def validate(range_: Range) -> None:
        fields, records = range_.fields, range_.records
        assert fields is not None  # `decode` made them; a blank has no schema
        for record, event, properties in zip(
            records, fields.events, fields.properties, strict=True
        ):
            if is_doubtful(event, properties):
                rejected = check_event(event, properties, taxonomy)
                if rejected is not None:
                    range_.rejected[record.position] = rejected

    return validate


def check_event(event: str, properties: bytes, taxonomy: Taxonomy) -> Rejected | None:
    """Why an event breaks the schema it has, or None."""
    try:
        parsed = orjson.loads(properties)
    except orjson.JSONDecodeError:
        return None
    return taxonomy.check(event, parsed)
