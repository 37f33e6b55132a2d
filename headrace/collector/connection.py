"""One connection of a client: bytes into requests, answers into bytes, and every bound on both.

Owns HTTP/1.1 after the parser (httptools): which request is answered when, how long headers, a
body and an idle client may take, how much may lie in buffers, and how a connection ends so that
the client can still read why. A request goes from here to the handler without ASGI in between:
uvicorn's cycle of messages costs 13 µs a request, and has none of these bounds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import unquote_to_bytes

import httptools
import msgspec
import structlog

from headrace.collector.answers import (
    BAD_HTTP,
    LONG_HEADERS,
    OVERLOADED,
    STOPPING,
    TOO_SLOW,
    WRONG_METHOD,
    Answer,
    Headers,
    Refusal,
    retry_after,
)
from headrace.collector.requests import ClientGone, Handler, Incoming, by_name
from headrace.runtime.metrics import REQUESTS

MAX_HEADER_BYTES: Final = 64 * 1024
MAX_CONNECTIONS: Final = 4_096
MAX_UNTAKEN_BYTES: Final = 32 * 1024 * 1024
"""Of bodies that lie in connections' buffers because nobody has taken them yet."""

_UNCOUNTED_BYTES: Final = 16 * 1024
_PAUSE_BYTES: Final = 64 * 1024
"""A connection is not read any further while so much of a body lies in its buffer."""
_LINGER_SECONDS: Final = 5.0
"""How long the rest of a refused request is read and thrown away: closing at once would reset
the connection, and the client would see that instead of its answer."""
_LAST_LINGER_SECONDS: Final = 1.0
"""The same while the collector ends: nobody waits for who does not stop sending."""
_WRITE_SECONDS: Final = 30.0
_CLOCK_SECONDS: Final = 0.001
"""Of the loop's clock: a timer may come so much early."""
_UPGRADING: Final = frozenset({b"upgrade", b"connection", b"http2-settings"})
_GO_AHEAD: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE: Final = b"connection: close\r\n"
_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}
_TUNNEL: Final = Refusal(
    WRONG_METHOD, "CONNECT is for proxies; use POST", headers=[(b"allow", b"GET, POST")]
)

_log = structlog.get_logger(__name__)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that a client may take; `half_sent` is for bodies that were being sent when the
    collector was told to end."""

    headers: float = 10.0
    body: float = 30.0
    keep_alive: float = 75.0
    half_sent: float = 2.0


class Common:
    """What the connections of a server have in common."""

    def __init__(self, handler: Handler, bounds: Bounds) -> None:
        self.handler = handler
        self.bounds = bounds
        self.connections: set[Connection] = set()
        self.orphans: set[asyncio.Task[None]] = set()
        """Requests whose client is gone; what they append is appended all the same."""
        self.untaken_bytes = 0
        self.date = b""
        """The header's line; whoever serves renews it."""
        self._change = asyncio.Event()

    def lose(self, connection: Connection, task: asyncio.Task[None] | None) -> None:
        """The connection is gone; `task` still answers its last request."""
        self.connections.discard(connection)
        if task is not None:
            self.orphans.add(task)
            task.add_done_callback(self._forget)
        self._change.set()

    async def wait_for_all(self) -> None:
        """Until every connection is gone and every request over."""
        while self.connections or self.orphans:
            self._change.clear()
            await self._change.wait()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self.orphans.discard(task)
        self._change.set()


class Request(Incoming):
    """A request on a connection: what arrived of its body, and where it stands."""

    __slots__ = (
        "_connection",
        "arrival",
        "expects_go_ahead",
        "is_answered",
        "is_gone",
        "is_whole",
        "keep_alive",
        "pieces",
        "untaken_bytes",
    )

    def __init__(
        self,
        connection: Connection,
        method: str,
        path: str,
        query: bytes,
        headers: dict[bytes, bytes],
        peer: str,
    ) -> None:
        super().__init__(method, path, query, headers, peer)
        self._connection = connection
        self.pieces: deque[bytes] = deque()
        self.untaken_bytes = 0
        self.keep_alive = True
        self.expects_go_ahead = False
        self.is_whole = False
        self.is_answered = False
        self.is_gone = False
        """Nobody waits for its answer any more."""
        self.arrival: asyncio.Future[None] | None = None

    async def next_piece(self) -> tuple[bytes, bool]:
        while not self.is_gone:
            if self.pieces:
                piece = self.pieces.popleft()
                self._connection.taken(self, len(piece))
                return piece, self.is_whole and not self.pieces
            if self.is_whole:
                return b"", True
            if self.expects_go_ahead:
                self._connection.go_ahead(self)
            self.arrival = asyncio.get_running_loop().create_future()
            await self.arrival
        raise ClientGone

    def note_arrival(self) -> None:
        """Wake who waits for more."""
        arrival, self.arrival = self.arrival, None
        if arrival is not None and not arrival.done():
            arrival.set_result(None)


class Connection(asyncio.Protocol):
    """One connection. Its requests are answered one after the other, in their order."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._loop = asyncio.get_running_loop()
        self._parser = self._new_parser()
        self._transport: asyncio.Transport
        self._peer = ""
        # What is being parsed
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_headers = False
        self._upgrades = False
        self._unclaimed_bytes = 0
        self._piece_bytes = 0
        # Requests: the one whose body arrives or arrived last, the one that is answered, those
        # that wait for their turn.
        self._last: Request | None = None
        self._current: Request | None = None
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_paused = False
        self._is_write_paused = False
        # Its end
        self._is_stopping = False
        self._is_refused = False
        self._is_ended = False
        self._linger_seconds = _LINGER_SECONDS
        # One thing at a time is waited for; the timer looks when it is due.
        self._awaited = ""
        self._due = 0.0
        self._late: Callable[[], None] = self.end
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._write_timer: asyncio.TimerHandle | None = None

    # Its life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's derives from nothing
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._common.connections.add(self)
        if len(self._common.connections) > MAX_CONNECTIONS:
            self._refuse(_overloaded("too many connections are open"))
        else:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._is_ended = True
        self._awaited = ""
        for timer in (self._timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        for request in {self._last, self._current, *self._waiting}:
            if request is not None:
                self._let_go(request)
        self._waiting.clear()
        self._common.lose(self, self._task)
        del self._parser  # it refers to this object: without it nothing is left for the collector

    def end(self) -> None:
        """Close so that the client can read what was written to it."""
        if self._is_ended:
            return
        self._is_ended = True
        self._await("end", self._linger_seconds, self._transport.abort)
        if self._is_between_requests() and not self._is_refused:
            self._transport.close()
            return
        self._resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def stop(self) -> None:
        """The collector ends: whatever is half sent is waited for a moment, what is being
        appended is answered."""
        self._is_stopping = True
        self._linger_seconds = _LAST_LINGER_SECONDS
        if self._is_ended:
            return
        if self._current is None:
            self.end()
        elif self._last is not None and not self._last.is_whole:
            self._await("body", self._common.bounds.half_sent, self._half_sent)

    def cut(self) -> None:
        """The collector ends now."""
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()

    # What arrives

    def data_received(self, data: bytes) -> None:
        if self._is_over():
            return  # thrown away, see `end`
        if self._awaited == "idle":
            self._awaited = ""
        self._piece_bytes = len(data)
        self._unclaimed_bytes += self._piece_bytes
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError:
            _log.exception("a connection failed")
            self._transport.abort()
        except httptools.HttpParserError as error:
            self._refuse(Refusal(BAD_HTTP, f"that is not HTTP/1.1: {error}"))
        if self._unclaimed_bytes > MAX_HEADER_BYTES:
            self._refuse_long_headers()
        if self._is_over():
            return
        if self._in_headers or self._is_between_requests():
            self._await_headers()
        elif self._last is not None and not self._last.is_whole and self._awaited != "body":
            self._await("body", self._common.bounds.body, self._body_late)

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._parser.get_method() == b"CONNECT":
                self._refuse(_TUNNEL)
            else:
                self._go_on_without_upgrade(data[upgrade.args[0] :])

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        # Java's client offers HTTP/2 like this, body included. An offer may be ignored
        # (RFC 9110, 7.8), but the parser takes what follows for the other protocol.
        lines = [b"%s %s HTTP/1.1" % (self._parser.get_method(), self._url)]
        lines += [b"%s: %s" % header for header in self._headers if header[0] not in _UPGRADING]
        self._parser = self._new_parser()
        self._parser.feed_data(b"\r\n".join([*lines, b"", rest]))

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # What follows a request with `Connection: close` does not cost its answer.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._in_headers = True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._upgrades = self._parser.should_upgrade()
        if self._upgrades:
            return
        self._in_headers = False
        if self._awaited == "headers":
            self._awaited = ""
        # Counted only where they can be too long: a piece may begin with another request's end.
        could_be = self._unclaimed_bytes + self._piece_bytes
        if could_be > MAX_HEADER_BYTES and self._header_bytes() > MAX_HEADER_BYTES:
            self._refuse_long_headers()
        self._unclaimed_bytes = 0
        if self._is_refused:
            return
        try:
            path, query = _split(self._url)
        except httptools.HttpParserInvalidURLError as error:
            self._refuse(Refusal(BAD_HTTP, f"that is not HTTP/1.1: {error}"))
            return
        headers = by_name(self._headers)
        self._headers = []  # trailers, which nobody asked for, end there
        parser = self._parser
        method = parser.get_method().decode()
        self._last = request = Request(self, method, path, query, headers, self._peer)
        request.keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        if b"expect" in headers:
            request.expects_go_ahead = headers[b"expect"].lower() == b"100-continue"
        if self._current is None:
            self._begin(request)
        else:
            self._waiting.append(request)
            self._pause_reading()

    def on_body(self, body: bytes) -> None:
        self._unclaimed_bytes = 0
        request = self._last
        if request is None or self._is_refused or request.is_answered:
            return
        size = len(body)
        request.pieces.append(body)
        request.untaken_bytes += size
        self._common.untaken_bytes += size
        request.note_arrival()
        if request.untaken_bytes > _PAUSE_BYTES:
            self._pause_reading()
        if size > _UNCOUNTED_BYTES and self._common.untaken_bytes > MAX_UNTAKEN_BYTES:
            self._refuse(_overloaded("too many bodies arrive at once"))

    def on_message_complete(self) -> None:
        request = self._last
        if request is None or self._is_refused or self._upgrades:
            return
        self._unclaimed_bytes = 0
        request.is_whole = True
        request.note_arrival()
        if self._awaited == "body":
            self._awaited = ""
        if request.is_answered:
            self._await("idle", self._common.bounds.keep_alive, self.end)

    def taken(self, request: Request, size: int) -> None:
        """Somebody took a piece of a request's body."""
        request.untaken_bytes -= size
        self._common.untaken_bytes -= size
        if self._is_paused and request.untaken_bytes <= _PAUSE_BYTES and not self._waiting:
            self._resume_reading()

    def go_ahead(self, request: Request) -> None:
        """The client waits for this before it sends the body."""
        request.expects_go_ahead = False
        if not self._is_ended:
            self._transport.write(_GO_AHEAD)

    def _pause_reading(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    # What goes out

    def _begin(self, request: Request) -> None:
        self._current = request
        self._task = self._loop.create_task(self._answer(request))

    async def _answer(self, request: Request) -> None:
        try:
            answer = await self._common.handler(request)
        except ClientGone:
            self._current = self._task = None
            return
        except BaseException:
            self._transport.abort()
            raise
        self._current = self._task = None
        if not self._is_ended:
            self._send(request, answer)
            self._go_on(request)

    def _send(self, request: Request, answer: Answer) -> None:
        self._let_go(request)
        request.is_answered = True
        if self._is_stopping or (self._is_refused and not self._waiting):
            request.keep_alive = False
        end = b"\r\n" if request.keep_alive else _CLOSE + b"\r\n"
        if request.method != "HEAD":
            end += answer.body
        self._write(answer.status, [*answer.headers, *request.answer_headers], end)

    def _write(self, status: int, headers: Headers, end: bytes) -> None:
        lines = [_STATUS_LINES[status], self._common.date]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        lines.append(end)
        self._transport.write(b"".join(lines))

    def _go_on(self, answered: Request) -> None:
        """The answer is out: what comes next."""
        if not answered.keep_alive:
            self.end()
        elif self._waiting:
            if not self._is_write_paused:
                self._begin(self._waiting.popleft())
        elif not answered.is_whole:
            self._await("body", _LINGER_SECONDS, self.end)
        elif not self._in_headers:
            self._await("idle", self._common.bounds.keep_alive, self.end)
        if not self._waiting:
            self._resume_reading()

    def pause_writing(self) -> None:
        self._is_write_paused = True
        self._write_timer = self._loop.call_later(_WRITE_SECONDS, self._transport.abort)

    def resume_writing(self) -> None:
        self._is_write_paused = False
        if self._write_timer is not None:
            self._write_timer.cancel()
        if self._waiting and self._current is None and not self._is_ended:
            self._begin(self._waiting.popleft())
            if not self._waiting:
                self._resume_reading()

    def _let_go(self, request: Request) -> None:
        """Nobody takes the rest of its body any more, nor waits for it."""
        self._common.untaken_bytes -= request.untaken_bytes
        request.untaken_bytes = 0
        request.pieces.clear()
        request.is_gone = True
        request.note_arrival()

    # What ends it early

    def _refuse_long_headers(self) -> None:
        message = f"request line and headers are over {MAX_HEADER_BYTES:,} bytes; send fewer"
        self._refuse(Refusal(LONG_HEADERS, message))

    def _headers_late(self) -> None:
        if not self._in_headers:
            self.end()
            return
        seconds = self._common.bounds.headers
        self._refuse(Refusal(TOO_SLOW, f"the headers were not there within {seconds:g} s"))

    def _body_late(self) -> None:
        seconds = self._common.bounds.body
        message = f"the body was not there within {seconds:g} s; send it faster, or less at once"
        self._refuse(Refusal(TOO_SLOW, message))

    def _half_sent(self) -> None:
        message = "the collector is shutting down and the body was not there; nothing was stored"
        self._refuse(Refusal(STOPPING, message, headers=[retry_after(2)]))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer instead of the handler and end; after the answers of what was sent whole."""
        if self._is_over():
            return
        self._is_refused = True
        half = self._last
        if half is not None and not half.is_whole and half in self._waiting:
            self._waiting.remove(half)
        current = self._current
        given: Headers = ()
        if current is not None:
            if current.is_whole:
                return  # `_go_on` ends it
            given = current.answer_headers
            self._let_go(current)
        elif self._waiting:
            return
        answer = refusal.answer()
        REQUESTS.labels("other", answer.status).inc()
        self._write(answer.status, [*answer.headers, *given], _CLOSE + b"\r\n" + answer.body)
        self.end()

    def _is_over(self) -> bool:
        """Whether no other request is taken here."""
        return self._is_ended or self._is_refused

    def _is_between_requests(self) -> bool:
        last = self._last
        return last is None or (last.is_answered and last.is_whole)

    def _header_bytes(self) -> int:
        return len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)

    # What is waited for

    def _await_headers(self) -> None:
        if self._awaited != "headers":
            self._await("headers", self._common.bounds.headers, self._headers_late)

    def _await(self, what: str, seconds: float, late: Callable[[], None]) -> None:
        """From now on this, and nothing else, is waited for.

        A timer that comes too early looks again: to set and cancel one for every request would
        cost 3 µs.
        """
        self._awaited = what
        self._late = late
        self._due = due = self._loop.time() + seconds
        if self._timer is None or self._timer_at > due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._awaited:
            return
        if self._loop.time() + _CLOCK_SECONDS >= self._due:
            self._awaited = ""
            self._late()
        else:
            self._timer_at = self._due
            self._timer = self._loop.call_at(self._due, self._look)


def _split(url: bytes) -> tuple[str, bytes]:
    """Path and query of a request's target."""
    if url[:1] != b"/":  # for a proxy, or `*`
        if url == b"*":
            return "*", b""
        parsed = httptools.parse_url(url)
        path, query = parsed.path or b"/", parsed.query or b""
    else:
        path, _, query = url.partition(b"?")
    if b"%" in path:
        path = unquote_to_bytes(path)
    return path.decode(errors="replace"), query


def _overloaded(why: str) -> Refusal:
    message = f"{why}; nothing was stored, retry shortly"
    return Refusal(OVERLOADED, message, headers=[retry_after(1)])
