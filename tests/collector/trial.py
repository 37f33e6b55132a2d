"""A collector on the log in memory, with a key: what these tests are about, as small as it gets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import msgspec

from headrace.collector.answers import Answer
from headrace.collector.app import CollectorParts, application, build_app
from headrace.collector.arriving import App
from headrace.collector.express import Sending
from headrace.collector.heads import MAX_REQUEST_BYTES
from headrace.collector.requests import Handler, Incoming
from headrace.collector.server import ServerOptions, serve
from headrace.eventlog.memory import MemoryLog
from headrace.runtime.clock import ManualClock
from headrace.schemas.records import EventValue
from headrace.workspaces.memory import MemoryDirectory
from headrace.workspaces.port import Scope

NOW = datetime(2024, 3, 15, 14, 30, tzinfo=UTC)
ONE = "/v1/events"
BATCH = "/v1/batch/events"
REPLAY = "/v1/rejected/replay"
GOOD = {"event": "paywall_viewed", "user_id": "usr_abc123", "timestamp": "2024-03-15T14:22:00Z"}


class Trial:
    """Everything around a collector that a test may want to turn or look at."""

    goes_express = False
    """Whether clients' requests go the express way where they may (see `both_ways`)."""

    def __init__(self, **parts: Any) -> None:
        self.clock = ManualClock(NOW)
        self.log = MemoryLog(self.clock)
        self.directory = MemoryDirectory(self.clock)
        self.workspace = self.directory.create_workspace("default")
        self.key = self.directory.create_key(self.workspace)
        self.parts = CollectorParts(
            **{
                "log": self.log.appender(),
                "directory": self.directory,
                "clock": self.clock,
                "requests_per_minute": 10_000,
                **parts,
            }
        )
        self.app = build_app(self.parts)

    def client(self, key: str | None = None) -> httpx2.AsyncClient:
        """A client in the same process, that presents the key."""
        handler = hurried(self.app) if self.goes_express else self.app.handler
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=application(handler)),
            base_url="http://collector",
            headers={"Authorization": f"Bearer {key or self.key}"},
        )

    async def send(
        self, body: Any, path: str = BATCH, *, key: str | None = None, **headers: str
    ) -> httpx2.Response:
        """Post a body, bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client(key) as client:
            return await client.post(path, content=content, headers=named)

    def values(self) -> list[EventValue]:
        """What lies in the log, in order."""
        return [msgspec.json.decode(one.value, type=EventValue) for one in self.log.records()]

    def admin_key(self) -> str:
        return self.directory.create_key(self.workspace, scopes=(Scope.ADMIN,))


class _Whole(Incoming):
    """A request whose body was read."""

    __slots__ = ("_body",)

    def __init__(self, request: Incoming, body: bytes) -> None:
        headers, peer = request.headers, request.peer
        super().__init__(request.method, request.path, request.query, headers, peer)
        self._body = body

    def take_whole(self) -> bytes:
        return self._body


class _Sender:
    """A request's own connection, to the express way."""

    def __init__(self) -> None:
        self.way: asyncio.Future[Sending | None] = asyncio.get_running_loop().create_future()

    def go_long_way(self, _body: bytes) -> None:
        self.way.set_result(None)

    def let_in(self, sending: Sending) -> None:
        self.way.set_result(sending)


def hurried(app: App) -> Handler:
    """As a connection does with heads that it knows, here from the first request on."""

    async def answer(request: Incoming) -> Answer:
        express = app.express
        if express is None or not express.takes(request):
            return await app.handler(request)
        body, is_last = b"", False
        while not is_last:
            piece, is_last = await request.next_piece()
            body += piece
        sender = _Sender()
        if len(body) <= MAX_REQUEST_BYTES:
            express.put(sender, request, body)
            sending = await sender.way
            if sending is not None:
                if sending.appending is not None:
                    await asyncio.wait([sending.appending])
                done = express.end(sending)
                assert done is not None
                return done
        assert not request.answer_headers
        whole = _Whole(request, body)
        answer = await app.handler(whole)
        request.answer_headers = whole.answer_headers
        return answer

    return answer


def problem(answer: httpx2.Response) -> str:
    """The stable code of a refusal, whose shape is checked along the way."""
    body = answer.json()
    assert set(body) <= {"error", "message", "field"}
    assert body["message"]
    error: str = body["error"]
    return error


@contextlib.asynccontextmanager
async def served(app: App, stop: asyncio.Event | None = None, **options: Any) -> AsyncIterator[int]:
    """The application on a real socket; gives its port, and stops it at the end."""
    stop = stop or asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(
        serve(
            app,
            ServerOptions(host="127.0.0.1", port=0, **options),
            stop,
            lambda _host, chosen: port.set_result(chosen),
        )
    )
    try:
        yield await port
    finally:
        stop.set()
        await running
