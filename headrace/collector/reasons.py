"""Why an event is refused in the answer: the reasons in words, with the value that is wrong.

Owns the sentences that senders read in `errors[].reason` and in the message of a single event's
400. The codes are those of `headrace.schemas.outcomes`; which rule comes first is `decode.py`'s.
"""

from __future__ import annotations

from typing import Final

import msgspec

from headrace.schemas.outcomes import Code
from headrace.schemas.records import MAX_PROPERTIES_BYTES, MAX_PROPERTIES_DEPTH

_SHOWN_CHARACTERS: Final = 60


class BadEvent(msgspec.Struct, frozen=True):
    """An event that is refused: the code, the field it is about ("" for the whole), a sentence."""

    code: Code
    field: str
    reason: str


def not_an_object(raw: bytes) -> BadEvent:
    """An element of the batch, or the body, that is no JSON object."""
    return BadEvent(Code.NOT_AN_OBJECT, "", f"an event must be a JSON object, not {described(raw)}")


def missing(field: str) -> BadEvent:
    """A required field is absent."""
    return BadEvent(Code.MISSING_FIELD, field, f"`{field}` is required and missing")


def wrong_type(field: str, wanted: str, raw: bytes) -> BadEvent:
    """A field holds another kind of JSON value."""
    return BadEvent(Code.WRONG_TYPE, field, f"`{field}` must be {wanted}, not {described(raw)}")


def wrong_length(field: str, length: int, longest: int) -> BadEvent:
    """A string is empty or too long."""
    if length == 0:
        return BadEvent(
            Code.TOO_SHORT, field, f"`{field}` is empty; it must have 1 to {longest} characters"
        )
    return BadEvent(
        Code.TOO_LONG, field, f"`{field}` has {length:,} characters; at most {longest} are taken"
    )


def far_too_long(field: str, raw: bytes, longest: int) -> BadEvent:
    """A string (in JSON) so long that it is not worth being decoded to be counted."""
    if raw.isascii() and b"\\" not in raw:
        return wrong_length(field, len(raw) - 2, longest)
    return BadEvent(
        Code.TOO_LONG,
        field,
        f"`{field}` has {len(raw) - 2:,} bytes; at most {longest} characters are taken",
    )


def missing_id() -> BadEvent:
    """Neither of the ids is there."""
    return BadEvent(
        Code.MISSING_ID, "user_id", "at least one of `user_id` and `anonymous_id` is required"
    )


def properties_too_large(size: int) -> BadEvent:
    """More bytes of properties than an event may have."""
    return BadEvent(
        Code.PROPERTIES_TOO_LARGE,
        "properties",
        f"`properties` is {size:,} bytes of JSON; at most {MAX_PROPERTIES_BYTES:,} are taken",
    )


def properties_too_deep() -> BadEvent:
    """Objects and arrays nested further than is taken."""
    return BadEvent(
        Code.PROPERTIES_TOO_DEEP,
        "properties",
        f"`properties` nests deeper than {MAX_PROPERTIES_DEPTH} levels",
    )


def described(raw: bytes) -> str:
    """What kind of JSON value it is, with the value where it is short and harmless to show."""
    match raw[:1]:
        case b'"':
            return f"the string {shown(msgspec.json.decode(raw, type=str))}"
        case b"{":
            return "an object"
        case b"[":
            return "an array"
        case b"n":
            return "null"
        case b"t" | b"f":
            return raw.decode()
    text = raw[:_SHOWN_CHARACTERS].decode()
    return f"the number {text}" + ("…" if len(raw) > _SHOWN_CHARACTERS else "")


def shown(text: str) -> str:
    """A value in quotes, cut to a length that fits a sentence."""
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
    return msgspec.json.encode(cut).decode()
