"""Pages of other origins: what a browser must hear before it sends, and to let a page read.

Owns the CORS headers (WHATWG Fetch). Requests carry a key, never cookies, so that any origin
may be let in; a page sees the answers' headers too, the errors' included.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from typing import Final

from headrace.collector.answers import NO_CONTENT, Answer, header_line
from headrace.collector.requests import Handler, Incoming, Middleware

EXPOSED: Final = (
    "Idempotent-Replayed, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-Id"
)
_MAX_AGE_SECONDS: Final = 86_400
_HEADER_NAMES: Final = re.compile(rb"[\w\-, ]{1,4096}", re.ASCII)
_EXPOSE: Final = header_line(b"access-control-expose-headers", EXPOSED.encode())
_VARY: Final = header_line(b"vary", b"origin")


def cors(origins: Sequence[str]) -> Middleware:
    """Lets pages of these origins send events; `*` means any."""
    any_origin = "*" in origins
    always = on_every_answer(origins)
    allowed = {origin.rstrip("/").encode() for origin in origins}

    def around(handler: Handler) -> Handler:
        def answer(request: Incoming) -> Awaitable[Answer]:
            origin = request.headers.get(b"origin")
            request.answer_headers += always
            if origin is not None and (any_origin or origin in allowed):
                may = b"*" if any_origin else origin
                request.answer_headers += header_line(b"access-control-allow-origin", may)
                request.answer_headers += _EXPOSE
                if request.method == "OPTIONS" and _METHOD_ASKED in request.headers:
                    return _preflight(request)
            return handler(request)

        return answer

    return around


def on_every_answer(origins: Sequence[str]) -> bytes:
    """What answers carry also where no page asks: caches must keep those of pages apart."""
    return b"" if "*" in origins else _VARY


_METHOD_ASKED: Final = b"access-control-request-method"


async def _preflight(request: Incoming) -> Answer:
    headers = header_line(b"access-control-allow-methods", b"GET, POST")
    headers += header_line(b"access-control-max-age", b"%d" % _MAX_AGE_SECONDS)
    # Whatever headers a page's tracing adds: mirrored, since none of them can do harm here.
    asked = request.headers.get(b"access-control-request-headers", b"")
    if _HEADER_NAMES.fullmatch(asked):
        headers += header_line(b"access-control-allow-headers", asked)
    return Answer(NO_CONTENT, b"", headers)
