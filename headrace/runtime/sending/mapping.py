"""From a line of somebody's NDJSON to one of our events, by naming the source fields.

Owns paths and the mapping. Values are passed through as the bytes they are: numbers of any
size, duplicate keys and key order survive. What the values may be is the collector's to say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from headrace.collector.json_text import replace_lone_surrogates
from headrace.schemas.errors import HeadraceError

WHOLE_OBJECT: Final = "."
_ABSENT: Final = (b"null", b'""')
_DOT: Final = re.compile(r"(?<!\\)\.")


class Fields(msgspec.Struct, frozen=True):
    """Where an event's parts lie in a line: dotted paths, `.` for the whole object.

    At each level the longest key that is there wins, so `a.b` finds the key `"a.b"` before
    the key `"b"` inside `"a"`; `a\\.b` means the key `"a.b"` alone.
    """

    event: str = "event"
    user_id: str = "user_id"
    anonymous_id: str = "anonymous_id"
    timestamp: str = "timestamp"
    properties: str = "properties"


class Unmapped(msgspec.Struct, frozen=True):
    """A line that cannot become an event: a stable code and a sentence."""

    code: str
    reason: str


Keys = Sequence[str]
Members = dict[str, msgspec.Raw]
_members: Final = msgspec.json.Decoder(Members)


def parse_path(text: str) -> Keys:
    """The keys of a dotted path. Raises `HeadraceError` for an empty key."""
    keys = [key.replace("\\.", ".") for key in _DOT.split(text)]
    if not all(keys):
        raise HeadraceError(
            f"{text!r} is not a path: give keys with dots between them, `\\.` for a dot in a key"
        )
    return keys


class Mapper:
    """Makes events of lines; one object serves any number of lines of one mapping."""

    def __init__(self, fields: Fields) -> None:
        self._names = fields
        self._event = parse_path(fields.event)
        self._user_id = parse_path(fields.user_id)
        self._anonymous_id = parse_path(fields.anonymous_id)
        self._timestamp = parse_path(fields.timestamp)
        whole = fields.properties == WHOLE_OBJECT
        self._properties = None if whole else parse_path(fields.properties)

    def map(self, line: bytes) -> bytes | Unmapped:
        """The event as a JSON object, or why there is none. An id or properties that are null
        or an empty string count as absent."""
        line = line.strip()
        opened = _open_line(line)
        if isinstance(opened, Unmapped):
            return opened
        line, members = opened
        seen: dict[int, Members | None] = {}
        event = _find(members, self._event, seen)
        if event is None:
            return Unmapped("no_event", f"no value at `{self._names.event}` (--event)")
        timestamp = _find(members, self._timestamp, seen)
        if timestamp is None:
            return Unmapped("no_timestamp", f"no value at `{self._names.timestamp}` (--timestamp)")
        user_id = _find(members, self._user_id, seen)
        anonymous_id = _find(members, self._anonymous_id, seen)
        if user_id is None and anonymous_id is None:
            return Unmapped("no_id", self._no_id())
        pieces: list[bytes | msgspec.Raw] = [b'{"event":', event, b',"timestamp":', timestamp]
        if user_id is not None:
            pieces += (b',"user_id":', user_id)
        if anonymous_id is not None:
            pieces += (b',"anonymous_id":', anonymous_id)
        if self._properties is None:
            pieces += (b',"properties":', line)
        elif (properties := _find(members, self._properties, seen)) is not None:
            pieces += (b',"properties":', properties)
        pieces.append(b"}")
        return b"".join(pieces)

    def _no_id(self) -> str:
        return (
            f"no value at `{self._names.user_id}` (--user-id) "
            f"nor at `{self._names.anonymous_id}` (--anonymous-id)"
        )


def _open_line(line: bytes) -> tuple[bytes, Members] | Unmapped:
    try:
        if not line.isascii():
            line.decode()
        return line, _members.decode(line)
    except UnicodeDecodeError as error:
        return Unmapped("not_utf8", f"not UTF-8 at byte {error.start}")
    except msgspec.ValidationError:
        return Unmapped("not_an_object", "a JSON value, but not an object")
    except msgspec.DecodeError as error:
        mended = bytes(replace_lone_surrogates(line))  # JavaScript sends them
        if mended != line:
            return _open_line(mended)
        return Unmapped("not_json", str(error))
    except RecursionError:
        return Unmapped("not_json", "nested too deep")


def _find(members: Members, path: Keys, seen: dict[int, Members | None]) -> msgspec.Raw | None:
    """The value at a path; None if nothing is there, or null, or an empty string."""
    for length in range(len(path), 0, -1):
        raw = members.get(path[0] if length == 1 else ".".join(path[:length]))
        if raw is None:
            continue
        if length == len(path):
            return None if len(raw) <= 4 and bytes(raw) in _ABSENT else raw
        inner = _open_member(raw, seen)
        if inner is not None and (found := _find(inner, path[length:], seen)) is not None:
            return found
    return None


def _open_member(raw: msgspec.Raw, seen: dict[int, Members | None]) -> Members | None:
    """The members of a nested object, decoded once a line however many paths lead into it."""
    known = seen.get(id(raw), ...)
    if known is not ...:
        return known
    try:
        inner: Members | None = _members.decode(raw)
    except msgspec.DecodeError:
        inner = None
    seen[id(raw)] = inner
    return inner
