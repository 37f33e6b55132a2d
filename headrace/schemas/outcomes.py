"""The fate of an event, as a closed type: stored, rejected (and why), or a duplicate.

Owns the codes people read in `rejected_events.code` and in a batch answer's `errors[].code`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Code(StrEnum):
    """Why an event was not stored. Stable: never renamed, only added to."""

    # Refused by the collector, in the answer; such events never reach the log.
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    MISSING_ID = "missing_id"
    INVALID_TIMESTAMP = "invalid_timestamp"
    TIMESTAMP_OUT_OF_RANGE = "timestamp_out_of_range"
    PROPERTIES_TOO_LARGE = "properties_too_large"
    PROPERTIES_TOO_DEEP = "properties_too_deep"
    # Decided by the processor; these become rows of `rejected_events`.
    SCHEMA_VIOLATION = "schema_violation"
    UNREADABLE_RECORD = "unreadable_record"
    REFUSED_BY_STORE = "refused_by_store"
    ERASED = "erased"


class Stored(msgspec.Struct, frozen=True, tag=True):
    """The event becomes a row of `events`."""


class Rejected(msgspec.Struct, frozen=True, tag=True):
    """The event becomes a row of `rejected_events`.

    `path` is the JSON path of the offending value (`$.properties.price`), `schema` the id
    of the schema it broke; both may be empty.
    """

    code: Code
    reason: str
    path: str = ""
    schema: str = ""


class Duplicate(msgspec.Struct, frozen=True, tag=True):
    """The same event id is already held at another position of the log."""

    kept_log_id: str
    kept_partition: int
    kept_position: int


Outcome = Stored | Rejected | Duplicate
