"""Bytes into events: which elements of a body are events, and why the others are not.

Owns the hot path (one typed decode of the whole batch, properties as raw bytes) and the slow
path (each element by itself), which takes over when anything at all is odd. Both judge events
with the same code, so that they cannot differ; only times are read by the decoder where it knows
their form, and then as `read_timestamp` reads them. What the rules are is `reasons.py`,
`timestamps.py` and `properties.py`; repairs of the text are `json_text.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from headrace.collector import reasons
from headrace.collector.answers import (
    INVALID_JSON,
    MISSING_EVENTS,
    NO_EVENTS,
    TOO_MANY_EVENTS,
    WRONG_SHAPE,
    Refusal,
    Rejection,
    refuse_event,
)
from headrace.collector.json_text import cut_depths, invalid_utf8_at, replace_lone_surrogates
from headrace.collector.properties import explain_properties, is_shallow
from headrace.collector.reasons import BadEvent
from headrace.collector.requests import Body
from headrace.collector.timestamps import explain_timestamp, read_timestamp, to_utc
from headrace.schemas.records import (
    EMPTY_PROPERTIES,
    END_OF_MOMENTS,
    FIRST_MOMENT,
    MAX_EVENT_CHARACTERS,
    MAX_EVENTS_PER_REQUEST,
    MAX_ID_CHARACTERS,
    MAX_PROPERTIES_BYTES,
    EventName,
    SomeId,
)

_NULL: Final = Raw(b"null")
_ABSENT: Final = Raw(b"")


class Event(Struct, gc=False):
    """A good event: checked, the time in UTC, properties the client's bytes.

    It is what the hot path decodes, so that no event is built twice. Unknown fields are ignored,
    of equal keys the last counts.
    """

    event: EventName
    timestamp: datetime
    user_id: SomeId | None = None
    anonymous_id: SomeId | None = None
    properties: Raw = EMPTY_PROPERTIES


class _Batch(Struct, gc=False):
    events: list[Event]


class _Loose(Struct, gc=False):
    """An event with anything in its fields: what the slow path looks at."""

    event: Raw = _ABSENT
    timestamp: Raw = _ABSENT
    user_id: Raw = _ABSENT
    anonymous_id: Raw = _ABSENT
    properties: Raw = _ABSENT


# One slot more than a batch may have: what lies beyond is checked to be JSON and takes no
# memory, where a list of a 10 MiB body's elements could take 300 MiB.
_SLOTS: Final = [f"e{index}" for index in range(MAX_EVENTS_PER_REQUEST + 1)]
_Elements: Final = msgspec.defstruct(
    "_Elements",
    [(slot, Raw, msgspec.field(default=_ABSENT)) for slot in _SLOTS],
    array_like=True,
    gc=False,
)
_LooseBatch: Final = msgspec.defstruct("_LooseBatch", [("events", _Elements)], gc=False)
_MANY_OBJECTS: Final = 20 * MAX_EVENTS_PER_REQUEST
_MANY_BYTES: Final = 48 * _MANY_OBJECTS
"""So many events need more: the shortest is `{"event":"e","timestamp":"2024-03-15T14:22:00"},`."""

_decode_event: Final = msgspec.json.Decoder(Event).decode
_decode_batch: Final = msgspec.json.Decoder(_Batch).decode
_decode_loose: Final = msgspec.json.Decoder(_Loose).decode
_decode_loose_batch: Final = msgspec.json.Decoder(_LooseBatch).decode
_decode_raw: Final = msgspec.json.Decoder(Raw).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
_OFFSET: Final = re.compile(r" \(byte (\d+)\)$")
# Numbers: to find b"[" in bytes, Python first makes and drops an error that it is none.
_OPENING_BRACE: Final = ord("{")
_OPENING_BRACKET: Final = ord("[")
_IN_JSON: Final = {
    "array": "an array",
    "bool": "a boolean",
    "float": "a number",
    "int": "a number",
    "object": "an object",
    "str": "a string",
}
"""What the decoder calls them, as JSON does."""
_MOST_BYTES_A_CHARACTER: Final = 12
"""In JSON: an escape for each half of a surrogate pair."""


class Decoded(Struct, gc=False):
    """What a body holds: good events at their indexes, and the rejections of the others."""

    events: Sequence[Event]
    indexes: Sequence[int]
    rejections: Sequence[Rejection] = ()


def read_batch(body: Body) -> Decoded:
    """The events of `{"events": […]}`. Raises `Refusal` when the body is refused whole."""
    body = _checked_text(body)
    if len(body) > _MANY_BYTES and body.count(b"{") > _MANY_OBJECTS:
        return _read_slowly(body)
    try:
        events = _decode_batch(body).events
    except (msgspec.DecodeError, RecursionError):
        return _read_slowly(body)
    if not 0 < len(events) <= MAX_EVENTS_PER_REQUEST:
        raise _wrong_count(len(events))
    if not _are_good(events):
        return _read_slowly(body)
    return Decoded(events, range(len(events)))


def read_event(body: Body) -> Decoded:
    """The one event that the body is. Raises `Refusal` when it is none."""
    body = _checked_text(body)
    judged = _quickly(body) or _explain(_whole(body))
    if isinstance(judged, BadEvent):
        raise refuse_event(judged)
    return Decoded([judged], range(1))


def _whole(body: Body) -> Body:
    """The body as one JSON value. Raises `Refusal`."""
    raw = _within_depth(body, _decode_raw)
    # A copy of 10 MiB would be the largest thing a request needs.
    return body if memoryview(raw).nbytes == len(body) else bytes(raw)


def _read_slowly(body: Body) -> Decoded:
    """Each element by itself: the good ones are taken, the others get their reason."""
    events: list[Event] = []
    indexes: list[int] = []
    rejections: list[Rejection] = []
    for index, element in enumerate(_elements(body)):
        match judge(element):
            case Event() as event:
                events.append(event)
                indexes.append(index)
            case BadEvent(code, field, reason):
                rejections.append(Rejection(index, reason, code.value, field))
    return Decoded(events, indexes, rejections)


def _are_good(events: Sequence[Event]) -> bool:
    """Whether each keeps the rules that the decoder does not know; brings times to UTC.

    Runs for every event: 0.2 µs, half of the time that reading takes.
    """
    for event in events:
        moment = event.timestamp
        if moment.tzinfo is not UTC:
            in_utc = to_utc(moment)
            if in_utc is None:
                return False
            event.timestamp = moment = in_utc
        if not FIRST_MOMENT <= moment < END_OF_MOMENTS:
            return False
        if event.anonymous_id is None and event.user_id is None:
            return False
        raw = bytes(event.properties)
        if raw[0] != _OPENING_BRACE or len(raw) > MAX_PROPERTIES_BYTES:
            if raw != b"null":
                return False
            event.properties = EMPTY_PROPERTIES
        elif (_OPENING_BRACKET in raw or _OPENING_BRACE in raw[1:]) and not is_shallow(raw):
            return False
    return True


def judge(element: bytes) -> Event | BadEvent:
    """One element of a batch, by itself: the event, or why it is none."""
    return _quickly(element) or _explain(element)


def _quickly(element: Body) -> Event | None:
    try:
        event = _decode_event(element)
    except (msgspec.DecodeError, RecursionError):
        return None
    return event if _are_good([event]) else None


def _explain(element: Body) -> Event | BadEvent:
    """What is wrong with the element; nothing, if the decoder only did not know its time's form,
    or an earlier duplicate of a key was wrong."""
    try:
        loose = _decode_loose(element)
    except msgspec.ValidationError:
        return reasons.not_an_object(bytes(element))
    texts: list[str | None] = []
    for field, longest in (
        ("event", MAX_EVENT_CHARACTERS),
        ("timestamp", None),
        ("user_id", MAX_ID_CHARACTERS),
        ("anonymous_id", MAX_ID_CHARACTERS),
    ):
        text = _text(field, bytes(getattr(loose, field)), longest)
        if isinstance(text, BadEvent):
            return text
        texts.append(text)
    name, time, user_id, anonymous_id = texts
    assert name is not None
    assert time is not None
    if user_id is None and anonymous_id is None:
        return reasons.missing_id()
    properties = EMPTY_PROPERTIES
    if loose.properties not in (_ABSENT, _NULL):
        bad = explain_properties(bytes(loose.properties))
        if bad is not None:
            return bad
        properties = loose.properties
    moment = read_timestamp(time)
    if moment is None:
        return explain_timestamp(time)
    return Event(name, moment, user_id, anonymous_id, properties)


def _text(field: str, raw: bytes, longest: int | None) -> str | BadEvent | None:
    """The string in a field, None where an id is absent, or what is wrong with it."""
    required = field in ("event", "timestamp")
    if not raw:
        return reasons.missing(field) if required else None
    if raw == b"null" and not required:
        return None
    if raw[:1] != b'"':
        return reasons.wrong_type(field, "a string", raw)
    if longest is not None and len(raw) - 2 > _MOST_BYTES_A_CHARACTER * longest:
        return reasons.far_too_long(field, raw, longest)
    text = _decode_text(raw)
    if longest is not None and not 0 < len(text) <= longest:
        return reasons.wrong_length(field, len(text), longest)
    return text


def elements_of(body: Body) -> list[bytes]:
    """The elements of `{"events": […]}` as bytes. Raises `Refusal`."""
    return _elements(_checked_text(body))


def _elements(body: Body) -> list[bytes]:
    try:
        batch: Any = _within_depth(body, _decode_loose_batch)
    except msgspec.ValidationError as error:
        raise _wrong_shape(str(error)) from error
    slots = (getattr(batch.events, slot) for slot in _SLOTS)
    elements = [bytes(raw) for raw in slots if raw]
    if not 0 < len(elements) <= MAX_EVENTS_PER_REQUEST:
        raise _wrong_count(len(elements))
    return elements


def _within_depth(body: Body, decode: Callable[[Body], Any]) -> Any:
    """Decode a body however deep it nests; raises `Refusal` if it is not JSON."""
    try:
        return _strictly(body, decode)
    except RecursionError:
        return _strictly(body, lambda body: decode(cut_depths(body)), offsets_hold=False)


def _strictly(body: Body, decode: Callable[[Body], Any], *, offsets_hold: bool = True) -> Any:
    try:
        return decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        raise _not_json(body, str(error), offsets_hold=offsets_hold) from error


def _checked_text(body: Body) -> Body:
    if not body or body.isspace():
        raise Refusal(INVALID_JSON, "the body is empty; send JSON")
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise Refusal(
            INVALID_JSON,
            "the body starts with a byte order mark (byte 0); send UTF-8 JSON without one",
        )
    at = invalid_utf8_at(body)
    if at is not None:
        raise Refusal(INVALID_JSON, f"the body is not UTF-8: byte 0x{body[at]:02x} at byte {at}")
    return replace_lone_surrogates(body)


def _not_json(body: Body, trouble: str, *, offsets_hold: bool) -> Refusal:
    found = _OFFSET.search(trouble)
    if found is None:
        return Refusal(
            INVALID_JSON, f"the body is not JSON: it ends too early, at byte {len(body)}"
        )
    what = trouble[: found.start()].removeprefix("JSON is malformed: ")
    where = f" at byte {found[1]}" if offsets_hold else ", beside what nests too deep"
    return Refusal(INVALID_JSON, f"the body is not JSON: {what}{where}")


def _wrong_shape(trouble: str) -> Refusal:
    wanted = f'send {{"events": […]}} with 1 to {MAX_EVENTS_PER_REQUEST:,} events'
    if "missing required field" in trouble:
        return Refusal(MISSING_EVENTS, f"the body has no `events`; {wanted}")
    got = trouble.partition("got `")[2].partition("`")[0]
    where = "`events`" if "$.events" in trouble else "the body"
    return Refusal(WRONG_SHAPE, f"{where} must not be {_IN_JSON.get(got, got)}; {wanted}")


def _wrong_count(count: int) -> Refusal:
    if count == 0:
        return Refusal(NO_EVENTS, f"`events` is empty; send 1 to {MAX_EVENTS_PER_REQUEST:,}")
    # One more than may be is all that is counted, where each element is looked at by itself.
    least = MAX_EVENTS_PER_REQUEST + 1
    many = f"{count:,}" if count > least else f"at least {least:,}"
    return Refusal(
        TOO_MANY_EVENTS,
        f"`events` holds {many} events; at most {MAX_EVENTS_PER_REQUEST:,} are taken at once",
    )
