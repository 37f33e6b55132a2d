"""The description of the API, OpenAPI 3.1: made from the structs and problems that are used.

Owns what `/openapi.json` says. Answers come from `answers.py`, limits from
`headrace.schemas.records`; only the words and examples are written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from headrace.collector import answers
from headrace.collector.answers import BAD_EVENT, Problem
from headrace.collector.compression import ENCODINGS
from headrace.collector.health import Health
from headrace.schemas.records import (
    FIRST_YEAR,
    LAST_YEAR,
    MAX_EVENT_CHARACTERS,
    MAX_EVENTS_PER_REQUEST,
    MAX_ID_CHARACTERS,
    MAX_PROPERTIES_BYTES,
    MAX_PROPERTIES_DEPTH,
)

_Identifier = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]


class Event(msgspec.Struct, omit_defaults=True):
    """What happened, to whom, when. At least one of `user_id` and `anonymous_id` is required.
    Unknown fields are ignored; of a field given twice the last counts."""

    event: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_EVENT_CHARACTERS,
            description="The event's name. Any characters do, blanks alone included.",
            examples=["paywall_viewed"],
        ),
    ]
    timestamp: Annotated[
        datetime,
        Meta(
            description=(
                f"When it happened: an ISO 8601 date-time, {FIRST_YEAR} to {LAST_YEAR}. Without "
                "an offset it is UTC. It is rounded to the microsecond."
            ),
            examples=["2024-03-15T14:22:00Z"],
        ),
    ]
    user_id: Annotated[
        _Identifier | None, Meta(description="Who it was, as your backend knows them.")
    ] = None
    anonymous_id: Annotated[
        _Identifier | None,
        Meta(
            description="The device or session, before the user is known. An event with both "
            "ids links them."
        ),
    ] = None
    properties: Annotated[
        dict[str, Any] | None,
        Meta(
            description=f"Anything else about it: at most {MAX_PROPERTIES_BYTES:,} bytes of JSON "
            f"and {MAX_PROPERTIES_DEPTH} levels. Stored byte for byte."
        ),
    ] = None


class Batch(msgspec.Struct):
    """Events that are judged one by one: a bad one never spoils the rest."""

    events: Annotated[
        list[Any],
        Meta(
            min_length=1,
            max_length=MAX_EVENTS_PER_REQUEST,
            description="Each is an `Event`. One that is not is refused in `errors`, by its index.",
        ),
    ]


class Replay(msgspec.Struct):
    """Rejected events, each with `event_id` and `received_at` of the first time."""

    events: Annotated[list[Any], Meta(min_length=1, max_length=MAX_EVENTS_PER_REQUEST)]


_STRUCTS: Final = (
    Event,
    Batch,
    Replay,
    answers.EventAccepted,
    answers.BatchAnswered,
    answers.ErrorBody,
    Health,
)
_EVENT_EXAMPLE: Final = {
    "event": "paywall_viewed",
    "user_id": "usr_abc123",
    "timestamp": "2024-03-15T14:22:00Z",
    "properties": {"paywall_id": "pw_annual_v3", "offer_id": "offer_intro_50pct"},
}
_REPLAY_EXAMPLE: Final = {
    "event_id": "evt_01hx4j7k9m2n3p5q6r8s9t0v1w",
    "received_at": "2024-03-15T14:22:01.5Z",
    **_EVENT_EXAMPLE,
}

_AFTER_THE_KEY: Final = (
    answers.MISSING_KEY,
    answers.INVALID_KEY,
    answers.EXPIRED_KEY,
    answers.REVOKED_KEY,
    answers.FORBIDDEN,
    answers.LIMITED,
    answers.WRONG_MEDIA,
    answers.BAD_ENCODING,
    answers.TOO_LARGE,
    answers.TOO_SLOW,
    answers.INVALID_JSON,
    answers.LONG_HEADERS,
    answers.BROKEN,
    answers.OVERLOADED,
    answers.UNAVAILABLE,
)
_OF_BATCHES: Final = (
    answers.WRONG_SHAPE,
    answers.MISSING_EVENTS,
    answers.NO_EVENTS,
    answers.TOO_MANY_EVENTS,
)
_OF_KEYS: Final = (answers.BAD_KEY_HEADER, answers.STILL_RUNNING, answers.OTHER_BODY)

_KEY_SCHEMA: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": "^[!#-~]([ -~]*[!-~])?$",
}
_HEADERS: Final = {
    "X-Request-Id": "The id of the request, yours if you sent one.",
    "RateLimit-Policy": 'The limit, `"default";q=100;w=60`: 100 requests in any 60 seconds.',
    "RateLimit": 'What is left of it, `"default";r=99;t=12`: more room comes in 12 seconds.',
    "Retry-After": "Whole seconds after which the same request passes.",
    "Idempotent-Replayed": "`true` when this is the answer that a first request got.",
}


def describe() -> dict[str, Any]:
    """The whole document."""
    _, schemas = msgspec.json.schema_components(
        _STRUCTS, ref_template="#/components/schemas/{name}"
    )
    _require_an_id(schemas["Event"])
    # Any JSON is judged as an element, but an event is what one should send.
    schemas["Batch"]["properties"]["events"]["items"] = {
        "anyOf": [{"$ref": "#/components/schemas/Event"}, {}]
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace",
            "version": version("headrace"),
            "description": "Product events in over HTTP, durable before the answer.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {
            "schemas": schemas,
            "headers": {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in _HEADERS.items()
            },
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, `hrk_…`."}
            },
        },
    }


def _paths() -> dict[str, Any]:
    return {
        "/v1/events": {"post": _send_one()},
        "/v1/batch/events": {"post": _send_batch()},
        "/v1/rejected/replay": {"post": _replay()},
        "/livez": {"get": _look("Whether the process lives.")},
        "/readyz": {"get": _look("Whether requests would be taken now.", "A part is not usable.")},
        "/metrics": {"get": _look("Metrics in Prometheus' text format.", media="text/plain")},
        "/openapi.json": {"get": _look("This document.", schema={"type": "object"})},
        "/docs": {"get": _look("This documentation for people.", media="text/html")},
    }


def _send_one() -> dict[str, Any]:
    return _operation(
        "Send an event",
        "Sends a single event. The answer comes when it is durable.",
        _body("Event", _EVENT_EXAMPLE),
        "EventAccepted",
        (*BAD_EVENT.values(), *_AFTER_THE_KEY, *_OF_KEYS),
        keyed=True,
    )


def _send_batch() -> dict[str, Any]:
    return _operation(
        "Send up to 1,000 events",
        "Sends a batch. Good events are taken and bad ones refused by their index, also when "
        "all of them are bad: the status is 200 whenever the body is a batch.",
        _body("Batch", {"events": [_EVENT_EXAMPLE]}),
        "BatchAnswered",
        (*_OF_BATCHES, *_AFTER_THE_KEY, *_OF_KEYS),
        keyed=True,
    )


def _replay() -> dict[str, Any]:
    return _operation(
        "Send rejected events again",
        "Takes rejected events through once more, under their ids and times of receipt. Needs "
        "the scope `admin`.",
        _body("Replay", {"events": [_REPLAY_EXAMPLE]}),
        "BatchAnswered",
        (*_OF_BATCHES, *_AFTER_THE_KEY),
        keyed=False,
    )


def _operation(
    summary: str,
    description: str,
    body: dict[str, Any],
    answer: str,
    problems: Sequence[Problem],
    *,
    keyed: bool,
) -> dict[str, Any]:
    headers = ["X-Request-Id", "RateLimit-Policy", "RateLimit"]
    about = "An id of yours for the request, 1 to 128 visible characters; else one is made."
    parameters = [_parameter("X-Request-Id", about, {"type": "string"})]
    if keyed:
        headers.append("Idempotent-Replayed")
        about = "Makes a retry safe: the same key and body get the same answer for 24 hours."
        parameters.append(_parameter("Idempotency-Key", about, _KEY_SCHEMA))
    return {
        "summary": summary,
        "description": description,
        "parameters": parameters,
        "requestBody": body,
        "responses": {
            str(answers.OK): _response(
                "Done.", {"$ref": f"#/components/schemas/{answer}"}, headers
            ),
            **_failures(problems),
        },
    }


def _look(
    summary: str,
    not_ready: str = "",
    *,
    media: str = "application/json",
    schema: dict[str, Any] | None = None,
) -> dict[str, Any]:
    if media != "application/json":
        schema = {"type": "string"}
    found = schema or {"$ref": "#/components/schemas/Health"}
    responses = {str(answers.OK): _response(summary, found, ["X-Request-Id"], media)}
    if not_ready:
        status = str(answers.NOT_READY)
        responses[status] = _response(not_ready, found, ["X-Request-Id"], media)
    return {"summary": summary, "security": [], "responses": responses}


def _failures(problems: Iterable[Problem]) -> dict[str, Any]:
    by_status: dict[int, list[Problem]] = {}
    for problem in problems:
        by_status.setdefault(problem.status, []).append(problem)
    waiting = (answers.TOO_SLOW, answers.STILL_RUNNING, answers.LIMITED, answers.OVERLOADED)
    waits = {problem.status for problem in waiting}
    return {
        str(status): _response(
            "\n".join(f"- `{one.error}`: {one.meaning}" for one in found),
            {"$ref": "#/components/schemas/ErrorBody"},
            ["X-Request-Id", *(["Retry-After"] if status in waits else [])],
        )
        for status, found in sorted(by_status.items())
    }


def _response(
    description: str,
    schema: dict[str, Any],
    headers: Sequence[str],
    media: str = "application/json",
) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {media: {"schema": schema}},
    }


def _body(schema: str, example: dict[str, Any]) -> dict[str, Any]:
    return {
        "required": True,
        "description": f"JSON in UTF-8, at most 10 MiB; may be compressed: {', '.join(ENCODINGS)}.",
        "content": {
            "application/json": {
                "schema": {"$ref": f"#/components/schemas/{schema}"},
                "example": example,
            }
        },
    }


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _require_an_id(schema: dict[str, Any]) -> None:
    # Structs cannot say "one of these two".
    schema["anyOf"] = [
        {"required": [name], "properties": {name: {"type": "string"}}}
        for name in ("user_id", "anonymous_id")
    ]
