"""The collector on a socket: uvicorn with the time and size limits it does not have.

Owns connections: headers have a time and a size, answers are taken within a time, a connection
that is refused is closed so that the client can still read why, and the end is graceful: what
is being appended is answered, what was half sent is not waited for long. uvicorn 0.54 limits
none of these (a half-sent body alone blocks its shutdown), and raises caught signals again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, cast

import httptools
import msgspec
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from headrace.collector.answers import (
    BAD_HTTP,
    LONG_HEADERS,
    OVERLOADED,
    STOPPING,
    TOO_SLOW,
    WRONG_METHOD,
    Headers,
    Refusal,
    retry_after,
)
from headrace.collector.listening import CannotListen, listen
from headrace.collector.memory import return_freed_memory
from headrace.collector.requests import ANSWER_HEADERS
from headrace.runtime.metrics import REQUESTS

MAX_HEADER_BYTES: Final = 64 * 1024
MAX_CONNECTIONS: Final = 4_096
MAX_UNTAKEN_BYTES: Final = 32 * 1024 * 1024
"""Of bodies that lie in connections' buffers because the application has not taken them yet."""

_UNCOUNTED_BYTES: Final = 16 * 1024
_LINGER_SECONDS: Final = 5.0
"""How long the rest of a refused request is read and thrown away: closing at once would reset
the connection, and the client would see that instead of its answer."""
_LAST_LINGER_SECONDS: Final = 1.0
"""The same while the collector ends: nobody waits for who does not stop sending."""
_WRITE_SECONDS: Final = 30.0
_UPGRADING: Final = frozenset({b"upgrade", b"connection", b"http2-settings"})


_TUNNEL: Final = Refusal(
    WRONG_METHOD, "CONNECT is for proxies; use POST", headers=[(b"allow", b"GET, POST")]
)


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to serve. `stop_seconds` bounds the end as a whole, `half_sent_seconds` the wait for
    the rest of requests that were being sent."""

    host: str
    port: int
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    header_timeout_seconds: float = 10.0
    body_timeout_seconds: float = 30.0
    keep_alive_seconds: float = 75.0
    half_sent_seconds: float = 2.0
    stop_seconds: int = 15


async def serve(
    app: ASGIApp,
    options: ServerOptions,
    stop: asyncio.Event,
    ready: Callable[[str, int], None] | None = None,
) -> None:
    """Serve until `stop` is set and what was being appended has been answered.

    `ready` is told host and port (the one given by the system, if `options.port` is 0) once
    connections are taken. Raises `CannotListen`.
    """
    return_freed_memory()
    server = _Server(_load(app, options), ready)
    listening = listen(options.host, options.port)
    stopping = asyncio.create_task(server.stop_when(stop))
    try:
        await server.serve([listening])
    finally:
        stopping.cancel()


class _Config(uvicorn.Config):
    options: ServerOptions


class _Server(uvicorn.Server):
    def __init__(self, config: _Config, ready: Callable[[str, int], None] | None) -> None:
        super().__init__(config)
        self._ready = ready

    async def stop_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready is not None and sockets:
            self._ready(*sockets[0].getsockname()[:2])

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals are the process's business (`stop`); uvicorn would raise them once more at the
        # end, and the exit code would be 143.
        yield


class Connection(HttpToolsProtocol):
    """One connection. uvicorn parses and runs the application, this sets the bounds."""

    def __init__(self, config: _Config, *arguments: Any, **named: Any) -> None:
        super().__init__(config, *arguments, **named)
        self._options = config.options
        self._in_headers = False
        self._unclaimed_bytes = 0
        self._piece_bytes = 0
        self._refused = False
        self._ended = False
        self._linger_seconds = _LINGER_SECONDS
        self._timers: dict[str, asyncio.TimerHandle] = {}

    # Its life

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's own
        self._socket = transport
        self._gentle = _GentleTransport(transport, self)
        super().connection_made(cast("asyncio.Transport", self._gentle))
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(_overloaded("too many connections are open"))
        else:
            self._set_timer("headers", self._options.header_timeout_seconds, self._headers_late)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._ended = True
        super().connection_lost(exc)

    def end(self) -> None:
        """Close so that the client can read what was written to it."""
        if self._ended:
            return
        self._gentle.flush()
        self._ended = True
        self._set_timer("end", self._linger_seconds, self._socket.abort)
        if self._is_between_requests() and not self._refused:
            self._socket.close()
            return
        self._socket.resume_reading()
        if self._socket.can_write_eof():
            self._socket.write_eof()

    def is_ended(self) -> bool:
        """Whether nothing more is written."""
        return self._ended or self._socket.is_closing()

    def shutdown(self) -> None:
        super().shutdown()
        self._linger_seconds = _LAST_LINGER_SECONDS
        if not self._ended and self.cycle.more_body:
            self._set_timer("body", self._options.half_sent_seconds, self._half_sent)

    # What arrives

    def data_received(self, data: bytes) -> None:
        if self._ended or self._refused:
            return  # thrown away, see `end`
        self._unset_keepalive_if_required()
        self._unclaimed_bytes += len(data)
        self._piece_bytes = len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse(Refusal(BAD_HTTP, f"that is not HTTP/1.1: {error}"))
        if self._unclaimed_bytes > MAX_HEADER_BYTES:
            self._refuse_long_headers()
        elif self._in_headers or self._is_between_requests():
            self._set_timer_once(
                "headers", self._options.header_timeout_seconds, self._headers_late
            )
        elif self.cycle.more_body:
            self._set_timer_once("body", self._options.body_timeout_seconds, self._body_late)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.parser.get_method() == b"CONNECT":
                self._refuse(_TUNNEL)
            else:
                self._go_on_without_upgrade(data[upgrade.args[0] :])

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        # Java's client offers HTTP/2 like this, body included. An offer may be ignored
        # (RFC 9110, 7.8), but the parser takes what follows for the other protocol.
        lines = [b"%s %s HTTP/1.1" % (self.parser.get_method(), self.url)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] not in _UPGRADING]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"\r\n".join([*lines, b"", rest]))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._in_headers = False
        self._cancel_timer("headers")
        # Counted only where they can be too long: a piece may begin with another request's end.
        could_be = self._unclaimed_bytes + self._piece_bytes
        if could_be > MAX_HEADER_BYTES and self._header_bytes() > MAX_HEADER_BYTES:
            self._refuse_long_headers()
        self._unclaimed_bytes = 0
        if not self._refused:
            super().on_headers_complete()
            self.headers = []  # trailers, which nobody asked for, end there

    def on_body(self, body: bytes) -> None:
        self._unclaimed_bytes = 0
        if self._refused:
            return
        super().on_body(body)
        if len(body) > _UNCOUNTED_BYTES and not self.cycle.response_complete:
            connections = cast("set[Connection]", self.connections)
            untaken = sum(len(one.cycle.body) for one in connections if one.cycle is not None)
            if untaken > MAX_UNTAKEN_BYTES:
                self._refuse(_overloaded("too many bodies arrive at once"))

    def on_message_complete(self) -> None:
        if self._refused or self.parser.should_upgrade():
            return
        self._unclaimed_bytes = 0
        late = self.cycle.response_complete  # then uvicorn does not note that the body is whole
        super().on_message_complete()
        self.cycle.more_body = False
        self._cancel_timer("body")
        if late:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    # What goes out

    def on_response_complete(self) -> None:
        self._gentle.flush()
        super().on_response_complete()
        if self._refused:
            self.end()
        elif not self._ended and self.cycle.response_complete and self.cycle.more_body:
            self._set_timer("body", _LINGER_SECONDS, self.end)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._set_timer("write", _WRITE_SECONDS, self._socket.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_timer("write")

    # What ends it early

    def _refuse_long_headers(self) -> None:
        message = f"request line and headers are over {MAX_HEADER_BYTES:,} bytes; send fewer"
        self._refuse(Refusal(LONG_HEADERS, message))

    def _headers_late(self) -> None:
        if not self._in_headers:
            self.end()
            return
        seconds = self._options.header_timeout_seconds
        self._refuse(Refusal(TOO_SLOW, f"the headers were not there within {seconds:g} s"))

    def _body_late(self) -> None:
        seconds = self._options.body_timeout_seconds
        message = f"the body was not there within {seconds:g} s; send it faster, or less at once"
        self._refuse(Refusal(TOO_SLOW, message))

    def _half_sent(self) -> None:
        message = "the collector is shutting down and the body was not there; nothing was stored"
        self._refuse(Refusal(STOPPING, message, headers=[retry_after(2)]))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer instead of the application and end; after the answer of what still runs."""
        if self._ended or self._refused:
            return
        self._refused = True
        cycle = self.cycle
        given: Headers = ()
        if cycle is not None and not cycle.response_complete:
            if self.pipeline or cycle.response_started or not cycle.more_body:
                return  # `on_response_complete` ends it
            given = cast("dict[str, Any]", cycle.scope).get(ANSWER_HEADERS, ())
            cycle.disconnected = True
            cycle.message_event.set()
        answer = refusal.answer()
        REQUESTS.labels("other", answer.status).inc()
        headers = [*answer.headers, *given, (b"connection", b"close")]
        lines = [STATUS_LINE[answer.status], *(b"%s: %s\r\n" % header for header in headers)]
        self._socket.write(b"".join([*lines, b"\r\n", answer.body]))
        self.end()

    def _is_between_requests(self) -> bool:
        cycle = self.cycle
        return cycle is None or (cycle.response_complete and not cycle.more_body)

    def _header_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _set_timer_once(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        if name not in self._timers:
            self._timers[name] = self.loop.call_later(seconds, action)

    def _set_timer(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        self._cancel_timer(name)
        self._timers[name] = self.loop.call_later(seconds, action)

    def _cancel_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


class _GentleTransport:
    """A transport to uvicorn, whose `close` is `Connection.end`, and which sends the head of an
    answer together with its body: one system call and one wake-up of the client less."""

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        self._transport = transport
        self._send = transport.write
        self._head = b""
        self.close = connection.end
        self.is_closing = connection.is_ended

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._head = data
            return
        self._send(data)

    def flush(self) -> None:
        """Send the head of an answer that has no body."""
        if self._head:
            self.write(b"")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _overloaded(why: str) -> Refusal:
    message = f"{why}; nothing was stored, retry shortly"
    return Refusal(OVERLOADED, message, headers=[retry_after(1)])


def _load(app: ASGIApp, options: ServerOptions) -> _Config:
    config = _Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        loop="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=cast("int", options.keep_alive_seconds),
        timeout_graceful_shutdown=options.stop_seconds,
        ssl_certfile=options.tls_certificate,
        ssl_keyfile=options.tls_key,
    )
    config.options = options
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise CannotListen(
            f"cannot use the certificate {options.tls_certificate} with the key "
            f"{options.tls_key}: {error}; both must be readable PEM files that belong together"
        ) from error
    return config
