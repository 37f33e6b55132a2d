"""Events against their schemas."""

from __future__ import annotations

import pytest

from headrace.processor.validate import check_event
from headrace.schemas.outcomes import Code
from tests.processor.trial import NORMAL, Trial


@pytest.mark.parametrize(
    ("properties", "path"),
    [
        (b'{"price":11}', "$.properties.price"),
        (b'{"price":1e300}', "$.properties.price"),
        (b'{"price":10}', None),
        (b"{}", None),
        (b'{"price":1e999}', None),
        (b'{"price":"\\ud800"}', None),
        (b'{"price":"\xff"}', None),
    ],
)
def test_an_event_with_a_schema_keeps_to_it_or_is_told_where_not(
    properties: bytes, path: str | None
) -> None:
    """What cannot be parsed is left to the store, which refuses it."""
    rejected = check_event("purchase", properties, NORMAL)
    if path is None:
        assert rejected is None
    else:
        assert rejected is not None
        assert (rejected.code, rejected.path) == (Code.SCHEMA_VIOLATION, path)
        assert rejected.schema == "purchase/1"


async def test_events_without_a_schema_are_stored_unparsed() -> None:
    """Whatever their properties are."""
    trial = Trial()
    await trial.append(trial.make_event("unheard_of", properties=b'{"price":11, "x":1e999}'))
    await trial.settle()
    assert [row.properties_raw for row in trial.store.events] == [b'{"price":11, "x":1e999}']
