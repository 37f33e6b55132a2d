"""The embedded ClickHouse server: chDB behind ClickHouse's HTTP interface.

Owns the paths, who is let in, and how the server starts and stops. What then happens to a query
is `queries.py`; what a user may touch `wall.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.metrics import STORE_QUERIES
from headrace.store.server import bodies
from headrace.store.server.answers import OK, Refusal
from headrace.store.server.engine import Engine
from headrace.store.server.limits import StoreLimits
from headrace.store.server.listening import Address, open_socket, serve
from headrace.store.server.protocol import Asked, add_form, read_form, read_request
from headrace.store.server.queries import Exchange, Queries
from headrace.store.server.replies import Ending, answer, refused
from headrace.store.server.running import HungUp
from headrace.store.server.sessions import Sessions
from headrace.store.server.users import find_user
from headrace.workspaces.port import Directory, Role, StoreUser

_LOG: Final = structlog.get_logger(__name__)
EXIT_OVERRUN: Final = 70
"""EX_SOFTWARE. Whoever started the process starts it anew."""
_BROKEN: Final = Refusal(
    1002, "UNKNOWN_EXCEPTION", "The server failed at this request; its log says why"
)


class StoreApp:
    """The ASGI application over an open engine."""

    def __init__(
        self, engine: Engine, directory: Directory, limits: StoreLimits, clock: Clock
    ) -> None:
        self._directory = directory
        self._limits = limits
        self._sessions = Sessions(clock, seconds=limits.session_seconds, most=limits.max_sessions)
        self.queries = Queries(engine, limits, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        with contextlib.suppress(ClientDisconnect, HungUp):
            await self._respond(request, send)

    async def _respond(self, request: Request, send: Send) -> None:
        for message in await self._ending(request, send):
            await send(_without_body(message) if request.method == "HEAD" else message)

    async def _ending(self, request: Request, send: Send) -> Ending:
        if request.url.path == "/ping":
            return _ok()
        try:
            asked = read_request(request.scope["query_string"], request.headers)
        except Refusal as refusal:
            return refused(refusal)
        try:
            user = find_user(self._directory, asked.credentials)
            return await self._answer(request, asked, user, send)
        except Refusal as refusal:
            return refused(refusal, asked)
        except (ClientDisconnect, HungUp):
            raise
        except Exception:  # noqa: BLE001 - the client gets an answer, the log the trace
            _LOG.exception("a request to the store failed", query_id=asked.query_id)
            return refused(_BROKEN, asked)

    async def _answer(self, request: Request, asked: Asked, user: StoreUser, send: Send) -> Ending:
        path = request.url.path
        if path == "/metrics" and user.role is not Role.ANALYST:
            return answer(OK, {"content-type": CONTENT_TYPE_LATEST}, generate_latest())
        if path not in {"", "/", "/replicas_status"}:
            raise Refusal(78, "UNKNOWN_TYPE_OF_QUERY", f"There is no handle {path[:64]}")
        if path == "/replicas_status" or (not asked.query and request.method in {"GET", "HEAD"}):
            return _ok()
        asked, has_form = await self._with_form(request, asked)
        with _counted(user), self._sessions.enter(user.name, asked.session) as session:
            exchange = Exchange(request, asked, user, session, send, has_form)
            if user.role is Role.PROCESSOR:
                return await self.queries.answer_processor(exchange)
            return await self.queries.answer_person(exchange)

    async def _with_form(self, request: Request, asked: Asked) -> tuple[Asked, bool]:
        content_type = request.headers.get("content-type", "")
        if not content_type.startswith("multipart/form-data"):
            return asked, False
        body = await bodies.whole(request, asked, self._limits.sql_bytes)
        return add_form(asked, read_form(content_type, body)), True


def _ok() -> Ending:
    return answer(OK, {"content-type": "text/html; charset=UTF-8"}, b"Ok.\n")


def _without_body(message: Message) -> Message:
    return {**message, "body": b""} if "body" in message else message


@contextlib.contextmanager
def _counted(user: StoreUser) -> Iterator[None]:
    result = "failed"
    try:
        yield
        result = "answered"
    except (HungUp, ClientDisconnect):
        result = "hung_up"
        raise
    except Refusal:
        result = "refused"
        raise
    finally:
        STORE_QUERIES.labels(role=user.role, result=result).inc()


def _take_ctrl_z_as_before() -> None:
    """Importing the engine takes this signal as well; a node ignores it, or its store would be
    stopped where nobody could wake it."""
    before = signal.getsignal(signal.SIGTSTP)
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTSTP, before)


async def serve_store(
    path: Path,
    listen: Address,
    directory: Directory,
    limits: StoreLimits,
    stop: asyncio.Event,
    *,
    clock: Clock | None = None,
    on_ready: Callable[[int], None] | None = None,
) -> None:
    """Serve the folder until `stop` is set; then running inserts finish, queries end.

    `on_ready` is told the port once requests are answered. Raises `HeadraceError` with a sentence
    if the folder or the address cannot be had. Signals are the caller's. A query that nothing
    ends (`overruns.py`) ends the process in this way too, with `EXIT_OVERRUN`.
    """
    listening = open_socket(listen)
    with contextlib.closing(listening):
        engine = await asyncio.to_thread(Engine, path, limits)
        _take_ctrl_z_as_before()
        try:
            app = StoreApp(engine, directory, limits, clock or SystemClock())
            watching = asyncio.create_task(app.queries.watch(stop))
            await serve(
                app,
                listening,
                stop,
                stop_seconds=limits.stop_seconds,
                before_stop=app.queries.end_people,
                on_ready=on_ready,
            )
            watching.cancel()
            await app.queries.stop()
            if app.queries.has_overrun:
                # Its thread is in the engine and stays there: nothing that waits for it ends.
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(EXIT_OVERRUN)
        finally:
            await asyncio.to_thread(engine.close)
