"""What an event is: on the way in, and as a record's value in the log.

Owns the limits of the ingestion contract and the struct that collector and processor share.
How bytes become these structs is the collector's (`collector/decode.py`) and the
processor's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from headrace.schemas.event_ids import ID_CHARACTERS

MAX_EVENTS_PER_REQUEST: Final = 1_000
MAX_BODY_BYTES: Final = 10 * 1024 * 1024
MAX_PROPERTIES_BYTES: Final = 64 * 1024
MAX_PROPERTIES_DEPTH: Final = 32
MAX_EVENT_CHARACTERS: Final = 200
MAX_ID_CHARACTERS: Final = 256
FIRST_YEAR: Final = 1971
LAST_YEAR: Final = 2199
FIRST_MOMENT: Final = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
END_OF_MOMENTS: Final = datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)
LATE_AFTER_SECONDS: Final = 24 * 3600
FUTURE_AFTER_SECONDS: Final = 3600

EventId = Annotated[str, Meta(min_length=ID_CHARACTERS, max_length=ID_CHARACTERS)]
EventName = Annotated[str, Meta(min_length=1, max_length=MAX_EVENT_CHARACTERS)]
AnyId = Annotated[str, Meta(max_length=MAX_ID_CHARACTERS)]
SomeId = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]

EMPTY_PROPERTIES: Final = msgspec.Raw(b"{}")


class EventValue(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A record's value in the log: one flat JSON object (`msgspec.json`).

    `properties` holds the client's bytes untouched, a JSON object. Datetimes carry UTC,
    microseconds at most. `event_id` is `evt_` and 26 lower-case Crockford characters.
    """

    event_id: EventId
    workspace_id: SomeId
    event: EventName
    timestamp: datetime
    received_at: datetime
    user_id: AnyId | None = None
    anonymous_id: AnyId | None = None
    properties: msgspec.Raw = EMPTY_PROPERTIES


class Header:
    """Names of record headers in the log. Values are short ASCII bytes."""

    MARK: Final = "headrace-mark"
    """The request may have been appended before; the value says why (`MARK_*`)."""
    TRACEPARENT: Final = "traceparent"


MARK_RETRY: Final = b"retry"
"""A keyed request that the key store could not prove to be the first of its key."""
MARK_REPLAY: Final = b"replay"
"""A rejected event sent through again under its old id."""


def is_replay(headers: Mapping[str, bytes]) -> bool:
    """Whether a record with these headers was rejected before and sent through again."""
    return headers.get(Header.MARK) == MARK_REPLAY
