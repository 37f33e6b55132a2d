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
from headrace.schemas.records import EventValue
from headrace.schemas.taxonomy import Taxonomy


def validate_against(taxonomy: Taxonomy) -> Callable[[Range], None]:
    """The step that rejects what breaks its schema."""

    is_doubtful = taxonomy.is_doubtful

    def validate(range_: Range) -> None:
        for record, value in zip(range_.records, range_.values, strict=True):
            if type(value) is EventValue and is_doubtful(value.event, value.properties):
                rejected = check_event(value, taxonomy)
                if rejected is not None:
                    range_.rejected[record.position] = rejected

    return validate


def check_event(value: EventValue, taxonomy: Taxonomy) -> Rejected | None:
    """Why an event that has a schema breaks it, or None."""
    try:
        properties = orjson.loads(memoryview(value.properties))
    except orjson.JSONDecodeError:
        return None
    return taxonomy.check(value.event, properties)
