"""From a record's bytes to an event, or to the reason why it is none. Pure.

The collector writes nothing that fails here; what does was written by somebody else, by a
newer version, or was damaged. It keeps its bytes in `rejected_events` and blocks nobody.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec
import orjson

from headrace.processor.ranges import Range
from headrace.schemas.event_ids import ID_PREFIX
from headrace.schemas.outcomes import Code, Rejected
from headrace.schemas.records import (
    FIRST_YEAR,
    LAST_YEAR,
    MAX_EVENT_CHARACTERS,
    MAX_ID_CHARACTERS,
    MAX_PROPERTIES_BYTES,
    EventValue,
)

MAX_RECORD_BYTES: Final = MAX_PROPERTIES_BYTES + 16 * 1024
"""Properties at their limit plus every other field at its limit, escaped, and some more."""

_ID_CHARACTERS: Final = len(ID_PREFIX) + 26
_BRACE: Final = ord("{")
_decoder: Final = msgspec.json.Decoder(EventValue)


def decode(range_: Range) -> None:
    """The first step: what every record of the range holds."""
    range_.values = values = [decode_record(record.value) for record in range_.records]
    for record, value in zip(range_.records, values, strict=True):
        if type(value) is Rejected:
            range_.rejected[record.position] = value


def decode_record(value: bytes) -> EventValue | Rejected:
    """The event in a record's value; anything that is not ours is `unreadable_record`."""
    if len(value) > MAX_RECORD_BYTES:
        return _unreadable(f"{len(value)} bytes; a record has at most {MAX_RECORD_BYTES}")
    try:
        event = _decoder.decode(value)
    except (ValueError, RecursionError) as error:
        return _unreadable(str(error))
    return event if _is_ours(event) else _find_fault(event)


def glimpse(value: bytes) -> dict[str, str]:
    """Whatever texts an unreadable record names under our field names."""
    if len(value) > MAX_RECORD_BYTES:
        return {}
    try:
        found = orjson.loads(value)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: text for name in _GLIMPSED if isinstance(text := found.get(name), str)}


_LENGTHS: Final = {"workspace_id": MAX_ID_CHARACTERS, "event": MAX_EVENT_CHARACTERS}
_GLIMPSED: Final = ("workspace_id", "event_id", "event", "user_id", "anonymous_id")


def _is_ours(event: EventValue) -> bool:
    # Everything at once, for every event: 0.5 µs where one question after the other took 0.8.
    # msgspec gives this very UTC for `Z` and `+00:00`; DateTime64 ends in 2299.
    timestamp, received_at = event.timestamp, event.received_at
    user_id, anonymous_id = event.user_id, event.anonymous_id
    return bool(
        len(event.event_id) == _ID_CHARACTERS
        and event.event_id.startswith(ID_PREFIX)
        and 0 < len(event.workspace_id) <= MAX_ID_CHARACTERS
        and 0 < len(event.event) <= MAX_EVENT_CHARACTERS
        and (user_id or anonymous_id)
        and (user_id is None or len(user_id) <= MAX_ID_CHARACTERS)
        and (anonymous_id is None or len(anonymous_id) <= MAX_ID_CHARACTERS)
        and timestamp.tzinfo is UTC
        and FIRST_YEAR <= timestamp.year <= LAST_YEAR
        and received_at.tzinfo is UTC
        and FIRST_YEAR <= received_at.year <= LAST_YEAR
        and memoryview(event.properties)[0] == _BRACE
    )


def _find_fault(event: EventValue) -> Rejected:
    if len(event.event_id) != _ID_CHARACTERS or not event.event_id.startswith(ID_PREFIX):
        return _unreadable("event_id is not evt_ and 26 characters", "$.event_id")
    for name, most in _LENGTHS.items():
        characters = len(getattr(event, name))
        if not 0 < characters <= most:
            return _unreadable(f"{name} has {characters} characters, not 1 to {most}", f"$.{name}")
    if not (event.user_id or event.anonymous_id):
        return _unreadable("neither user_id nor anonymous_id", "$.user_id")
    for name in ("user_id", "anonymous_id"):
        if len(getattr(event, name) or "") > MAX_ID_CHARACTERS:
            return _unreadable(f"{name} is over {MAX_ID_CHARACTERS} characters", f"$.{name}")
    if memoryview(event.properties)[0] != _BRACE:
        return _unreadable("properties are not an object", "$.properties")
    name = "received_at" if _is_good_time(event.timestamp) else "timestamp"
    return _unreadable(f"{getattr(event, name)} is not in UTC or out of range", f"$.{name}")


def _is_good_time(time: datetime) -> bool:
    return time.tzinfo is UTC and FIRST_YEAR <= time.year <= LAST_YEAR


def _unreadable(reason: str, path: str = "") -> Rejected:
    return Rejected(Code.UNREADABLE_RECORD, f"not a record of headrace: {reason}", path)
