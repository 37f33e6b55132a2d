"""What surrounds every request: its id, its metrics, its answer's common headers, its faults.

Owns pure-ASGI middleware only: BaseHTTPMiddleware breaks cancellation and context variables.
Nothing is logged per request above DEBUG, except a fault of ours.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from itertools import count
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.collector.answers import BROKEN, Refusal
from headrace.collector.requests import ANSWER_HEADERS
from headrace.runtime.clock import Clock
from headrace.runtime.metrics import REQUEST_SECONDS, REQUESTS

REQUEST_ID: Final = "headrace.request_id"

_TAKEN_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_OTHER: Final = "other"

log = structlog.get_logger(__name__)


class Observed:
    """Gives a request its id, its answer the common headers, and counts both.

    Endpoints that are not in `paths` share one label: a scanner must not make series.
    """

    def __init__(self, app: ASGIApp, *, clock: Clock, paths: Collection[str]) -> None:
        self._app = app
        self._clock = clock
        self._seconds = {path: REQUEST_SECONDS.labels(path) for path in (*paths, _OTHER)}
        self._process = secrets.token_hex(6)
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock.monotonic()
        path = scope["path"] if scope["path"] in self._seconds else _OTHER
        headers: list[tuple[bytes, bytes]] = [(b"x-request-id", self._id_of(scope))]
        scope[ANSWER_HEADERS] = headers

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
                REQUESTS.labels(path, message["status"]).inc()
                self._seconds[path].observe(self._clock.monotonic() - started)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _id_of(self, scope: Scope) -> bytes:
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _TAKEN_ID.fullmatch(value):
                given: bytes = value
                break
        else:
            given = f"{self._process}-{next(self._numbers)}".encode()
        scope[REQUEST_ID] = given.decode()
        return given


class Faults:
    """Answers a fault of ours with 500 and logs it under the request's id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def send_noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception:
            request_id = scope.get(REQUEST_ID, "")
            log.exception("a request failed", path=scope["path"], request_id=request_id)
            if begun:
                raise
            refusal = Refusal(
                BROKEN, f"a fault of ours; its details are in the log under {request_id}"
            )
            await refusal.answer()(scope, receive, send)
