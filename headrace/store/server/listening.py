"""The socket, and uvicorn over it with the bounds it has not: on headers, and on how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Protocol

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace.schemas.errors import HeadraceError

_HEAD_BYTES: Final = 256 * 1024
"""The parser takes URLs up to 64 KiB; longer parameters travel in a form."""
_HEAD_SECONDS: Final = 20.0
_BACKLOG: Final = 1024


class Address(Protocol):
    """Where to listen; port 0 lets the system choose."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


def open_socket(address: Address) -> socket.socket:
    """Listening from now on, so that nobody else can; raises `HeadraceError`."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY; without, each answer takes 40 ms.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((address.host, address.port))
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        raise HeadraceError(
            f"the store cannot listen on {address.host}:{address.port}: {error.strerror};"
            " stop what listens there, or set HEADRACE_STORE_LISTEN to another address"
        ) from error
    return opened


async def serve(
    app: ASGIApp,
    listening: socket.socket,
    stop: asyncio.Event,
    *,
    stop_seconds: float,
    before_stop: Callable[[], Awaitable[None]],
    on_ready: Callable[[int], None] | None,
) -> None:
    """Serve until `stop`; then `before_stop`, and what still runs has `stop_seconds` to end."""
    server = _Server(
        uvicorn.Config(
            app,
            http=_BoundedConnection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=int(stop_seconds),
        )
    )
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({serving, server.has_started}, return_when=asyncio.FIRST_COMPLETED)
        if server.started and on_ready is not None:
            on_ready(listening.getsockname()[1])
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await before_stop()
    finally:
        stopping.cancel()
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: it would end the process with the signal's code."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_started: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.has_started.set_result(None)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _BoundedConnection(HttpToolsProtocol):
    """A request's head must be there in time and must not be endless, log-in or not."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's own
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._late is not None and self._head_bytes > _HEAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._head_is_there()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        if self._late is None:
            self._head_bytes = 0
            self._late = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)

    def _head_is_there(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
