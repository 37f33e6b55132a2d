"""Ceilings of the HTTP edge: Starlette takes the body and answers, and does nothing else."""

from __future__ import annotations

import sys

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.schemas.records import MAX_BODY_BYTES


class Event(msgspec.Struct):
    """As little of an event as a decoder can look for."""

    event: str
    timestamp: str
    user_id: str | None = None
    anonymous_id: str | None = None
    properties: msgspec.Raw = msgspec.Raw(b"{}")


class Events(msgspec.Struct):
    """A batch's envelope."""

    events: list[Event]


DECODER = msgspec.json.Decoder(Events)
ANSWER = b'{"status":"ok","event_id":"evt_00000000000000000000000000"}'


async def empty(request: Request) -> Response:
    """Take the body, answer."""
    body = await request.body()
    assert len(body) <= MAX_BODY_BYTES
    return Response(ANSWER, media_type="application/json")


async def decoded(request: Request) -> Response:
    """Take the body, decode it once, answer."""
    DECODER.decode(await request.body())
    return Response(ANSWER, media_type="application/json")


def main() -> None:
    """Serve on 127.0.0.1 at the port given."""
    app = Starlette(
        routes=[
            Route("/v1/events", empty, methods=["POST", "GET"]),
            Route("/v1/batch/events", decoded, methods=["POST"]),
        ]
    )
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
