"""The collector as an application: two lists, routes and middleware.

Owns which path is served by what, and in which order things surround a request. To add an
endpoint: write its handler, add its route here and its description to `openapi.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.collector.arriving import App
from headrace.collector.authentication import Authentication
from headrace.collector.bodies import Budget
from headrace.collector.cors import cors, on_every_answer
from headrace.collector.docs import docs_page, openapi_json, pointer
from headrace.collector.event_ids import UlidMaker
from headrace.collector.events import BatchEndpoint, EventEndpoint
from headrace.collector.express import Express
from headrace.collector.gate import Gate, LocalGate
from headrace.collector.health import Checks, Remarks, livez, metrics, readyz
from headrace.collector.intake import Shared
from headrace.collector.observing import (
    Observer,
    RequestTracer,
    excused,
    identified,
    request_ids,
    traced,
)
from headrace.collector.replay import ReplayEndpoint
from headrace.collector.requests import ClientGone, Handler, Incoming, by_name, networks
from headrace.collector.routing import Route, router
from headrace.collector.tallies import Tallies
from headrace.eventlog.port import Appender
from headrace.runtime.clock import Clock
from headrace.workspaces.port import Directory


class CollectorParts(msgspec.Struct, frozen=True, kw_only=True):
    """What a collector is made of. `gate` None means limits and keys are this machine's alone.

    `checks` are asked by `/readyz` beside the log, `remarks` are shown there; they must not
    block. Without a `tracer` nothing is traced.
    """

    log: Appender
    directory: Directory
    clock: Clock
    gate: Gate | None = None
    requests_per_minute: int = 100
    max_bytes_in_flight: int = 64 * 1024 * 1024
    cors_origins: Sequence[str] = ("*",)
    trusted_proxies: Sequence[str] = ()
    checks: Checks = {}
    remarks: Remarks = {}
    tracer: RequestTracer | None = None


def build_app(parts: CollectorParts) -> App:
    """The application; nothing runs before its first request."""
    tallies = Tallies()
    shared = _shared(parts, tallies)
    checks = {"log_writable": parts.log.is_writable, **parts.checks}
    endpoints = [EventEndpoint(shared), BatchEndpoint(shared)]
    routes = [
        *[Route("POST", endpoint.name, endpoint.answer) for endpoint in endpoints],
        Route("POST", ReplayEndpoint.name, ReplayEndpoint(shared).answer),
        Route("GET", "/livez", livez),
        Route("GET", "/readyz", readyz(checks, parts.remarks)),
        Route("GET", "/metrics", metrics(tallies, checks)),
        Route("GET", "/openapi.json", openapi_json),
        Route("GET", "/docs", docs_page),
        Route("GET", "/", pointer),
    ]
    observer = Observer(parts.clock, tallies, [route.path for route in routes])
    ids = request_ids()
    # What these do for every request, `express.py` does as well.
    middleware = [
        observer.around,
        identified(ids),
        *([traced(parts.tracer)] if parts.tracer else []),
        cors(parts.cors_origins),
        excused,
    ]
    handler = router(routes)
    for around in reversed(middleware):
        handler = around(handler)
    if parts.tracer is not None or not isinstance(shared.gate, LocalGate):
        return App(handler)  # any request may be traced, or Redis must be asked
    always = on_every_answer(parts.cors_origins)
    return App(handler, Express(shared, shared.gate, endpoints, observer, ids=ids, always=always))


def application(handler: Handler) -> ASGIApp:
    """A handler for ASGI servers. The collector's own (`server.py`) does without."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = _FromScope(scope, receive)
        try:
            answer = await handler(request)
        except ClientGone:
            return
        lines = (answer.headers + request.answer_headers).split(b"\r\n")[:-1]
        headers = [tuple(line.split(b": ", 1)) for line in lines]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    return application


class _FromScope(Incoming):
    __slots__ = ("_receive",)

    def __init__(self, scope: Scope, receive: Receive) -> None:
        client = scope.get("client")
        super().__init__(
            scope["method"],
            scope["path"],
            scope["query_string"],
            by_name(scope["headers"]),
            client[0] if client else "",
        )
        self._receive = receive

    async def next_piece(self) -> tuple[bytes, bool]:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message.get("body", b""), not message.get("more_body", False)


def _shared(parts: CollectorParts, tallies: Tallies) -> Shared:
    return Shared(
        log=parts.log,
        gate=parts.gate or LocalGate(parts.log, parts.clock),
        authentication=Authentication(
            parts.directory, parts.clock, trusted_proxies=networks(parts.trusted_proxies)
        ),
        budget=Budget(parts.max_bytes_in_flight),
        ids=UlidMaker(),
        tallies=tallies,
        clock=parts.clock,
        executor=ThreadPoolExecutor(max_workers=1, thread_name_prefix="large-bodies"),
        requests_per_minute=parts.requests_per_minute,
    )
