"""Which handler a path and a method lead to; 404 and 405 when there is none.

Paths are exact: nothing of ours has parameters, so a look-up replaces patterns (Starlette's
router and its exception layer took longer than authentication and decoding together).
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

import msgspec

from headrace.collector.answers import (
    NO_CONTENT,
    NOT_FOUND,
    WRONG_METHOD,
    Answer,
    Refusal,
    header_line,
)
from headrace.collector.requests import Handler, Incoming


class Route(msgspec.Struct, frozen=True):
    """One endpoint."""

    method: str
    path: str
    handler: Handler


def router(routes: Iterable[Route]) -> Handler:
    """A handler that passes each request to its route's; `GET` serves `HEAD` too."""
    handlers: dict[str, dict[str, Handler]] = {}
    for route in routes:
        of_path = handlers.setdefault(route.path, {})
        of_path[route.method] = route.handler
        if route.method == "GET":
            of_path["HEAD"] = route.handler

    def lead(request: Incoming) -> Awaitable[Answer]:
        of_path = handlers.get(request.path)
        if of_path is None:
            shown = request.path[:200]
            raise Refusal(NOT_FOUND, f"there is nothing at {shown}; GET /docs says what there is")
        handler = of_path.get(request.method)
        if handler is None:
            return _other_method(request, sorted(of_path))
        return handler(request)

    return lead


async def _other_method(request: Incoming, methods: list[str]) -> Answer:
    allowed = ", ".join(methods)
    headers = header_line(b"allow", allowed.encode())
    if request.method == "OPTIONS":
        return Answer(NO_CONTENT, b"", headers)
    message = f"{request.method} is not for {request.path}; use {allowed}"
    raise Refusal(WRONG_METHOD, message, headers=headers)
