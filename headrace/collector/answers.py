"""Every answer the collector gives: status codes, stable error codes, shapes, headers.

The only place with HTTP status codes. A request that is refused raises `Refusal` with one of
the `Problem`s below; `openapi.py` documents them from the same list. Success bodies are structs,
so that the documentation is made from what is sent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.collector.reasons import BadEvent
from headrace.schemas.outcomes import Code

OK: Final = 200
NO_CONTENT: Final = 204
NOT_READY: Final = 503


class Problem(msgspec.Struct, frozen=True):
    """A way to fail: its status, the stable `error` code, and what it means."""

    status: int
    error: str
    meaning: str


INVALID_JSON: Final = Problem(400, "invalid_json", "The body is not UTF-8 JSON.")
WRONG_SHAPE: Final = Problem(400, "wrong_type", "The body or `events` is of another type.")
MISSING_EVENTS: Final = Problem(400, "missing_events", "A batch without `events`.")
NO_EVENTS: Final = Problem(400, "no_events", "A batch with an empty `events`.")
TOO_MANY_EVENTS: Final = Problem(400, "too_many_events", "A batch of more than 1,000 events.")
BAD_ENCODING: Final = Problem(
    400, "invalid_content_encoding", "The body is not what `Content-Encoding` says."
)
BAD_KEY_HEADER: Final = Problem(
    400, "invalid_idempotency_key", "`Idempotency-Key` is not 1 to 255 printable ASCII characters."
)
BAD_HTTP: Final = Problem(400, "invalid_http", "The bytes sent are not HTTP/1.1.")
MISSING_KEY: Final = Problem(401, "missing_key", "No `Authorization: Bearer …` header.")
INVALID_KEY: Final = Problem(401, "invalid_key", "There is no such key.")
EXPIRED_KEY: Final = Problem(401, "expired_key", "The key is past its expiry.")
REVOKED_KEY: Final = Problem(401, "revoked_key", "The key was revoked.")
FORBIDDEN: Final = Problem(403, "missing_scope", "The key lacks the scope this needs.")
NOT_FOUND: Final = Problem(404, "not_found", "There is nothing under this path.")
WRONG_METHOD: Final = Problem(405, "method_not_allowed", "Another method; see `Allow`.")
TOO_SLOW: Final = Problem(408, "request_timeout", "Headers or body took too long to arrive.")
STILL_RUNNING: Final = Problem(
    409, "idempotency_key_in_use", "The first request with this key still runs; retry."
)
TOO_LARGE: Final = Problem(413, "body_too_large", "The body is over 10 MiB, decompressed.")
WRONG_MEDIA: Final = Problem(
    415, "unsupported_media_type", "A `Content-Type` or `Content-Encoding` that is not taken."
)
OTHER_BODY: Final = Problem(
    422, "idempotency_key_reused", "The key was used with another body within 24 hours."
)
LIMITED: Final = Problem(429, "rate_limited", "The workspace's rate limit; see `Retry-After`.")
LONG_HEADERS: Final = Problem(431, "headers_too_large", "Request line and headers are too long.")
BROKEN: Final = Problem(500, "internal_error", "A fault of ours; the request id is in our logs.")
OVERLOADED: Final = Problem(503, "overloaded", "No room right now; nothing was stored. Retry.")
UNAVAILABLE: Final = Problem(
    503, "unavailable", "The log did not answer; with an `Idempotency-Key` a retry is safe."
)
STOPPING: Final = Problem(503, "stopping", "The collector is shutting down; retry.")

_CONTENT: Final = b"content-type: %s\r\ncontent-length: %d\r\n"
_OF_THE_PROCESSOR: Final = frozenset(
    {Code.SCHEMA_VIOLATION, Code.UNREADABLE_RECORD, Code.REFUSED_BY_STORE, Code.ERASED}
)
BAD_EVENT: Final[Mapping[Code, Problem]] = {
    code: Problem(400, code.value, "The event breaks a rule; `field` names where.")
    for code in Code
    if code not in _OF_THE_PROCESSOR
}

PROBLEMS: Final[Sequence[Problem]] = [
    *BAD_EVENT.values(),
    *(value for value in list(globals().values()) if isinstance(value, Problem)),
]
"""All of them; the documentation is held against this list."""


class EventAccepted(msgspec.Struct, frozen=True, tag_field="status", tag="ok"):
    """The answer to a single event."""

    event_id: str


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """Why one element of a batch was refused."""

    index: int
    reason: str
    code: str
    field: str = ""


class BatchAnswered(msgspec.Struct, frozen=True, tag_field="status", tag="ok"):
    """The answer to a batch; `event_ids` are those of the accepted events, in order."""

    accepted: int
    rejected: int
    event_ids: Sequence[str]
    errors: Sequence[Rejection]


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every failure of a whole request."""

    error: str
    message: str
    field: str = ""


class Answer:
    """An answer, whole. `headers` are lines as `header_line` makes them; those that every answer to
    the request carries are added later."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self,
        status: int,
        body: bytes,
        headers: bytes = b"",
        *,
        media_type: bytes = b"application/json",
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        if status != NO_CONTENT:
            self.headers += _CONTENT % (media_type, len(body))


class Refusal(Exception):
    """The whole request is refused: why, in a sentence that says what to do."""

    def __init__(
        self, problem: Problem, message: str, *, headers: bytes = b"", field: str = ""
    ) -> None:
        super().__init__(message)
        self.problem = problem
        self.message = message
        self.field = field
        self.headers = headers

    def answer(self) -> Answer:
        """How it is said over HTTP."""
        body = ErrorBody(self.problem.error, self.message, self.field)
        return Answer(self.problem.status, encode(body), self.headers)


def ok(body: Any, headers: bytes = b"") -> Answer:
    """A success with a JSON body."""
    return Answer(OK, encode(body), headers)


def refuse_event(bad: BadEvent) -> Refusal:
    """A single event that is not accepted."""
    return Refusal(BAD_EVENT[bad.code], bad.reason, field=bad.field)


def retry_after(seconds: float) -> bytes:
    """`Retry-After` in whole seconds, rounded up, at least one."""
    return header_line(b"retry-after", b"%d" % max(1, math.ceil(seconds)))


def header_line(name: bytes, value: bytes) -> bytes:
    """A header as it is sent, with the end of its line; neither part may contain one."""
    return b"%s: %s\r\n" % (name, value)


encode: Final = msgspec.json.Encoder().encode
