"""The collector as an ASGI application: two lists, routes and middleware.

Owns which path is served by what, and in which order things surround a request. To add an
endpoint: write it, add its route here and its description to `openapi.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.routing import Route

from headrace.collector.answers import (
    NO_CONTENT,
    NOT_FOUND,
    WRONG_METHOD,
    Answer,
    Refusal,
)
from headrace.collector.authentication import Authentication
from headrace.collector.bodies import Budget
from headrace.collector.docs import docs_page, openapi_json, pointer
from headrace.collector.event_ids import UlidMaker
from headrace.collector.events import BatchEndpoint, EventEndpoint
from headrace.collector.health import Checks, Readiness, livez, metrics
from headrace.collector.idempotency import KeyStore, LocalKeys
from headrace.collector.intake import Shared
from headrace.collector.limiting import Limiter
from headrace.collector.observing import Faults, Observed
from headrace.collector.replay import ReplayEndpoint
from headrace.collector.requests import networks
from headrace.eventlog.port import Appender
from headrace.runtime.clock import Clock
from headrace.workspaces.port import Directory


class CollectorParts(msgspec.Struct, frozen=True, kw_only=True):
    """What a collector is made of. `keys` None means the log keeps idempotency keys itself.

    `checks` are asked by `/readyz` beside the log; they must not block.
    """

    log: Appender
    directory: Directory
    clock: Clock
    keys: KeyStore | None = None
    requests_per_minute: int = 100
    max_bytes_in_flight: int = 64 * 1024 * 1024
    body_timeout_seconds: float = 30.0
    cors_origins: Sequence[str] = ("*",)
    trusted_proxies: Sequence[str] = ()
    checks: Checks = {}


EXPOSED_HEADERS = (
    "Accept-Encoding",
    "Idempotent-Replayed",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)


def build_app(parts: CollectorParts) -> Starlette:
    """The application; nothing runs before its first request."""
    routes = _routes(parts)
    paths = [route.path for route in routes]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Observed, clock=parts.clock, paths=paths),
            Middleware(
                CORSMiddleware,
                allow_origins=parts.cors_origins,
                allow_methods=["GET", "POST"],
                # Whatever a page's tracing adds; without cookies there is nothing to protect.
                allow_headers=["*"],
                expose_headers=EXPOSED_HEADERS,
                max_age=86400,
            ),
            Middleware(Faults),
        ],
        exception_handlers={HTTPException: _routing_refused},  # type: ignore[dict-item] # an ASGI application does, a Response it need not be
    )
    app.router.redirect_slashes = False  # a redirected POST loses its body in some clients
    return app


def _routes(parts: CollectorParts) -> list[Route]:
    shared = _shared(parts)
    readiness = Readiness({"log_writable": parts.log.is_writable, **parts.checks})
    return [
        Route("/v1/events", EventEndpoint(shared), methods=["POST"]),
        Route("/v1/batch/events", BatchEndpoint(shared), methods=["POST"]),
        Route("/v1/rejected/replay", ReplayEndpoint(shared), methods=["POST"]),
        Route("/livez", livez),
        Route("/readyz", readiness.answer),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi_json),
        Route("/docs", docs_page),
        Route("/", pointer),
    ]


def _shared(parts: CollectorParts) -> Shared:
    return Shared(
        log=parts.log,
        keys=parts.keys or LocalKeys(parts.log),
        authentication=Authentication(
            parts.directory, parts.clock, trusted_proxies=networks(parts.trusted_proxies)
        ),
        limiter=Limiter(),
        budget=Budget(parts.max_bytes_in_flight),
        ids=UlidMaker(),
        clock=parts.clock,
        executor=ThreadPoolExecutor(max_workers=1, thread_name_prefix="large-bodies"),
        requests_per_minute=parts.requests_per_minute,
        body_timeout_seconds=parts.body_timeout_seconds,
    )


async def _routing_refused(request: Request, error: Exception) -> Answer:
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code != WRONG_METHOD.status:
        return Refusal(NOT_FOUND, f"there is nothing at {path}; see /docs").answer()
    allowed = (error.headers or {}).get("Allow", "")
    headers = [(b"allow", allowed.encode())]
    if request.method == "OPTIONS":
        return Answer(NO_CONTENT, b"", headers)
    message = f"{request.method} is not for {path}; use {allowed}"
    return Refusal(WRONG_METHOD, message, headers=headers).answer()
