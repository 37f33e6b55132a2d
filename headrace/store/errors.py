"""What ClickHouse's error codes mean for us: one table, each code with its reason.

Owns the translation of the driver's exceptions into the three troubles of
`headrace.schemas.errors`. The default is `Unavailable`: retried for ever, loudly. A code is
`Refused` only if it names the data itself, so that nothing is rejected for the store's own
troubles, and `Overloaded` only if it says that there is no room.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from typing import Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from headrace.schemas.errors import HeadraceError, Overloaded, Refused, Unavailable

QUORUM_BUSY: Final = 286
"""UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE: another insert waits for its replicas; not done."""

REFUSED: Final[Mapping[int, str]] = {
    6: "CANNOT_PARSE_TEXT: a value is not what its column takes",
    25: "CANNOT_PARSE_ESCAPE_SEQUENCE: in a string of JSON",
    26: "CANNOT_PARSE_QUOTED_STRING: in a string of JSON",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED: a value is not what its column takes",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    69: "ARGUMENT_OUT_OF_BOUND: a number or a time past its type",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA: properties that are no JSON object for the engine (1e999)",
    128: "TOO_LARGE_ARRAY_SIZE: one value has too many elements",
    130: "CANNOT_READ_ARRAY_FROM_TEXT",
    131: "TOO_LARGE_STRING_SIZE: one value is too long",
    306: "TOO_DEEP_RECURSION: one value is nested too deep",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    407: "DECIMAL_OVERFLOW: a time past its column's range",
    467: "CANNOT_PARSE_BOOL",
    469: "VIOLATED_CONSTRAINT",
}
"""Code → why it names the data."""

OVERLOADED: Final[Mapping[int, tuple[float, str]]] = {
    173: (2.0, "CANNOT_ALLOCATE_MEMORY: the machine has none"),
    202: (0.5, "TOO_MANY_SIMULTANEOUS_QUERIES"),
    241: (1.0, "MEMORY_LIMIT_EXCEEDED: of the query or the server, not the row's fault"),
    243: (5.0, "NOT_ENOUGH_SPACE: no room can be reserved on the disk"),
    252: (1.0, "TOO_MANY_PARTS: merges are behind"),
    439: (1.0, "CANNOT_SCHEDULE_TASK: no thread is free"),
    745: (1.0, "SERVER_OVERLOADED"),
}
"""Code → seconds to wait, and why it means that there is no room."""

UNAVAILABLE: Final[Mapping[int, str]] = {
    3: "UNEXPECTED_END_OF_FILE: the block was cut on its way",
    32: "ATTEMPT_TO_READ_AFTER_EOF: the block was cut on its way",
    33: "CANNOT_READ_ALL_DATA: the block was cut on its way",
    53: "TYPE_MISMATCH: the columns are of another version; if it meant data all would be rejected",
    60: "UNKNOWN_TABLE: not migrated yet, or the wrong database",
    62: "SYNTAX_ERROR: we and this version of the store do not understand each other",
    70: "CANNOT_CONVERT_TYPE: as 53",
    76: "CANNOT_OPEN_FILE: the store's own disk",
    81: "UNKNOWN_DATABASE: not migrated yet, or the wrong one",
    115: "UNKNOWN_SETTING: the store is of another version",
    159: "TIMEOUT_EXCEEDED: it may have been done",
    164: "READONLY: these credentials may not write",
    192: "UNKNOWN_USER",
    193: "WRONG_PASSWORD",
    194: "REQUIRED_PASSWORD",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER: the server has no coordinator in its configuration",
    236: "ABORTED: the store is being stopped",
    242: "TABLE_IS_READ_ONLY: a replica has lost its coordinator",
    285: "TOO_FEW_LIVE_REPLICAS: fewer than a majority can be reached",
    289: "REPLICA_IS_NOT_IN_QUORUM: this replica is behind the majority; another may not be",
    319: "UNKNOWN_STATUS_OF_INSERT: of a quorum; it may have been done",
    394: "QUERY_WAS_CANCELLED: the store is being stopped, or somebody killed it",
    497: "ACCESS_DENIED: these credentials lack a grant",
    516: "AUTHENTICATION_FAILED",
    999: "KEEPER_EXCEPTION: a replica cannot reach its coordinator",
}
"""Codes looked at and left to the default, so that nobody wonders."""

_NO_SPACE: Final = re.compile(r"no space left|disk quota exceeded|errno:? ?28\b", re.IGNORECASE)

_ADDRESS: Final = re.compile(r"\((https?://[^\s()]+)\)$")
"""Where the driver's messages end with which server it asked."""


class QuorumBusy(Overloaded):
    """Another insert into the table waits for its replicas; nothing was done."""


def classify(message: str, code: int | None) -> HeadraceError:
    """The trouble that an answer (or its absence: code None) means."""
    text = message.strip()[:500]
    if _NO_SPACE.search(message):
        return Overloaded(f"the store's disk is full; make room: {text}", retry_after=5.0)
    if code is not None and code in REFUSED:
        return Refused(f"the store refuses the data: {text}", code=code)
    if code == QUORUM_BUSY:
        return QuorumBusy(f"another insert waits for its replicas: {text}", retry_after=0.1)
    if code is not None and code in OVERLOADED:
        return Overloaded(f"the store has no room: {text}", retry_after=OVERLOADED[code][0])
    return Unavailable(f"the store did not do it: {text}")


@contextmanager
def translated() -> Iterator[None]:
    """Raise the driver's exceptions as ours."""
    try:
        yield
    except ClickHouseError as error:
        if why := _why_no_answer(error):
            raise Unavailable(f"the store{_where(error)} does not answer ({why})") from error
        raise classify(str(error), getattr(error, "code", None)) from error
    except UnicodeEncodeError as error:
        raise Refused(f"text that is no UTF-8 cannot be stored: {error}") from error
    except OSError as error:
        raise Unavailable(f"the store cannot be reached: {error}") from error


def _why_no_answer(error: BaseException) -> str:
    """What the network said, below what two libraries make of it; nothing if there was an answer.

    Theirs is a paragraph with every setting of the query in it.
    """
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return str(error) if isinstance(error, OSError | HTTPException) else ""


def _where(error: ClickHouseError) -> str:
    found = _ADDRESS.search(str(error))
    return f" at {found[1]}" if found else ""
