"""One connection of a client: bytes into requests, answers into bytes, and every bound on both.

Owns HTTP/1.1 after the parser (`parsing.py`): which request is answered when, how long headers, a
body and an idle client may take, how much may lie in buffers, and how a connection ends so that
the client can still read why. A request goes from here to the handler without ASGI in between:
uvicorn's cycle of messages costs 13 µs a request, and has none of these bounds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, cast

from headrace.collector.answers import (
    OVERLOADED,
    STOPPING,
    TOO_SLOW,
    Answer,
    Refusal,
    retry_after,
)
from headrace.collector.arriving import Common, Request
from headrace.collector.express import Sending
from headrace.collector.heads import END, MAX_REQUEST_BYTES, KnownHead
from headrace.collector.parsing import ParsedHead, Parser
from headrace.collector.patience import Patience
from headrace.collector.requests import ClientGone
from headrace.collector.wire import CLOSE, GO_AHEAD, STATUS_LINES
from headrace.runtime.metrics import REQUESTS

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


class Connection(asyncio.Protocol):
    """One connection. Its requests are answered one after the other, in their order."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._loop = asyncio.get_running_loop()
        self._parser = Parser(self)
        self._transport: asyncio.Transport
        self._peer = ""
        # Requests: the one whose body arrives or arrived last, the one that is answered, those
        # that wait for their turn.
        self._last: Request | None = None
        self._current: Request | None = None
        self._waiting: deque[Request] = deque()
        self._answering: asyncio.Future[None] | None = None
        self._sending: Sending | None = None
        self._is_paused = False
        self._is_write_paused = False
        # Its end
        self._is_stopping = False
        self._is_half_closed = False
        self._is_refused = False
        self._is_ended = False
        self._linger_seconds = _LINGER_SECONDS
        self._patience = Patience(self._loop)
        self._write_timer: asyncio.TimerHandle | None = None

    # Its life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's derives from nothing
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        self._common.connections.add(self)
        if len(self._common.connections) > MAX_CONNECTIONS:
            self.refuse(_overloaded("too many connections are open"))
        else:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._is_ended = True
        self._patience.end()
        if self._write_timer is not None:
            self._write_timer.cancel()
        for request in {self._last, self._current, *self._waiting}:
            if request is not None:
                self._let_go(request)
        self._waiting.clear()
        self._common.lose(self, self._answering)
        # They refer to this object: without them nothing is left for the garbage collector.
        self._last = None
        self._parser.end()

    def eof_received(self) -> bool:
        """Whether to keep the connection: the client sends no more, but may still read."""
        self._is_half_closed = True
        current = self._current
        return current is not None and current.is_whole and self._transport.can_write_eof()

    def end(self) -> None:
        """Close so that the client can read what was written to it."""
        if self._is_ended:
            return
        self._is_ended = True
        self._patience.wait_for("end", self._linger_seconds, self._transport.abort)
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
            self._patience.wait_for("body", self._common.bounds.half_sent, self._half_sent)

    def cut(self) -> None:
        """The collector ends now."""
        if self._answering is not None:
            self._answering.cancel()
        self._transport.abort()

    # What arrives

    def data_received(self, data: bytes) -> None:
        if self._is_over():
            return  # thrown away, see `end`
        self._patience.came("next")
        is_new = not self._parser.in_headers and self._is_between_requests()
        if not is_new or len(data) > MAX_REQUEST_BYTES:
            self._parse(data)
            return
        head, _, body = data.partition(END)
        known = self._common.heads.find(head, body)
        if known is not None:
            self._begin_known(known, body)
            return
        self._parse(data)
        request = self._current  # none was before
        if request is not None and request.is_whole and request.keep_alive:
            self._common.heads.learn(head, body, request)

    def _begin_known(self, head: KnownHead, body: bytes) -> None:
        """A request whose head was parsed before, all of it: as the parser's calls begin it."""
        self._patience.came("headers")
        self._parser.skip()
        self._last = request = Request(
            self, head.method, head.path, head.query, head.headers, self._peer
        )
        request.is_whole = True
        express = self._common.express
        if express is not None and head.is_express:
            self._current = request
            express.put(self, request, body)
            return
        self._put_body(request, body)
        self._begin(request)

    def _put_body(self, request: Request, body: bytes) -> None:
        request.headers = request.headers.copy()  # the long way may add to them
        request.pieces.append(body)
        request.untaken_bytes = len(body)
        self._common.untaken_bytes += len(body)

    def _parse(self, data: bytes) -> None:
        self._parser.feed(data)
        if self._is_over():
            return
        if self._parser.in_headers or self._is_between_requests():
            self._await_headers()
        elif self._last is not None and not self._last.is_whole:
            self._await_body()

    def head_came(self, head: ParsedHead) -> None:
        self._patience.came("headers")
        if self._is_refused:
            return
        self._last = request = Request(
            self, head.method, head.path, head.query, head.headers, self._peer
        )
        request.keep_alive = head.keep_alive
        request.expects_go_ahead = head.expects_go_ahead
        if self._current is None:
            self._begin(request)
        else:
            self._waiting.append(request)
            self._pause_reading()

    def body_came(self, piece: bytes) -> None:
        request = self._last
        if request is None or self._is_refused or request.is_answered:
            return
        size = len(piece)
        request.pieces.append(piece)
        request.untaken_bytes += size
        self._common.untaken_bytes += size
        if request.arrival is not None:  # seldom, and a call takes 0.1 µs
            request.note_arrival()
        if request.untaken_bytes > _PAUSE_BYTES:
            self._pause_reading()
        if size > _UNCOUNTED_BYTES and self._common.untaken_bytes > MAX_UNTAKEN_BYTES:
            self.refuse(_overloaded("too many bodies arrive at once"))

    def request_ended(self) -> None:
        request = self._last
        if request is None or self._is_refused:
            return
        request.is_whole = True
        if request.arrival is not None:
            request.note_arrival()
        self._patience.came("body")
        if request.is_answered:
            self._await_next()

    def fail(self) -> None:
        self._transport.abort()

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
            self._transport.write(GO_AHEAD)

    def _pause_reading(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()
            if self._patience.came("headers"):
                self._await_headers()  # only now has the client its time

    # What goes out

    def _begin(self, request: Request) -> None:
        self._current = request
        # With a name: to make one up takes 1 µs.
        self._answering = asyncio.Task(self._answer(request), loop=self._loop, name="request")

    def go_long_way(self, body: bytes) -> None:
        request = self._current
        assert request is not None
        if request.is_gone:
            self._current = None
            return
        self._put_body(request, body)
        self._begin(request)

    def let_in(self, sending: Sending) -> None:
        self._sending = sending
        self._answering = appending = sending.appending
        if appending is None:
            self._loop.call_soon(self._sent, None)  # what it may raise is nobody else's
            return
        appending.add_done_callback(self._sent)
        if self._current is not None and self._current.is_gone:
            self._common.lose(self, appending)

    def _sent(self, _: asyncio.Future[None] | None) -> None:
        sending, request, express = self._sending, self._current, self._common.express
        assert sending is not None
        assert request is not None
        assert express is not None
        try:
            answer = express.end(sending)
        except BaseException:
            self._transport.abort()
            raise
        self._current = self._sending = self._answering = None
        if answer is None:
            self._transport.abort()
        elif not self._is_ended:
            self._send(request, answer)
            self._go_on(request)

    async def _answer(self, request: Request) -> None:
        try:
            answer = await self._common.handler(request)
        except ClientGone:
            self._current = self._answering = None
            return
        except BaseException:
            self._transport.abort()
            raise
        self._current = self._answering = None
        if not self._is_ended:
            self._send(request, answer)
            self._go_on(request)

    def _send(self, request: Request, answer: Answer) -> None:
        if request.pieces or not request.is_whole:
            self._let_go(request)
        request.is_answered = True
        is_last = (self._is_refused or self._is_half_closed) and not self._waiting
        if self._is_stopping or is_last:
            request.keep_alive = False
        end = b"\r\n" if request.keep_alive else CLOSE + b"\r\n"
        if request.method != "HEAD":
            end += answer.body
        self._write(answer, request.answer_headers, end)

    def _write(self, answer: Answer, given: bytes, end: bytes) -> None:
        lines = (STATUS_LINES[answer.status], self._common.date, answer.headers, given, end)
        self._transport.write(b"".join(lines))

    def _go_on(self, answered: Request) -> None:
        """The answer is out: what comes next."""
        if not answered.keep_alive:
            self.end()
            return
        if self._waiting:
            self._begin_next()
            return
        self._resume_reading()
        if not answered.is_whole:
            self._patience.wait_for("body", _LINGER_SECONDS, self.end)
        elif not self._parser.in_headers:
            self._await_next()

    def _begin_next(self) -> None:
        if self._is_write_paused:
            return  # `resume_writing` does it
        self._begin(self._waiting.popleft())
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
            self._begin_next()

    def _let_go(self, request: Request) -> None:
        """Nobody takes the rest of its body any more, nor waits for it."""
        self._common.untaken_bytes -= request.untaken_bytes
        request.untaken_bytes = 0
        request.pieces.clear()
        request.is_gone = True
        request.note_arrival()

    # What ends it early

    def _headers_late(self) -> None:
        if self._is_paused:  # they may be there: it is we who do not read
            self._await_headers()
            return
        if not self._parser.in_headers:
            self.end()
            return
        seconds = self._common.bounds.headers
        message = f"the headers were not there within {seconds:g} s; send the request anew"
        self.refuse(Refusal(TOO_SLOW, message, headers=retry_after(1)))

    def _body_late(self) -> None:
        seconds = self._common.bounds.body
        message = f"the body was not there within {seconds:g} s; send it faster, or less at once"
        self.refuse(Refusal(TOO_SLOW, message, headers=retry_after(1)))

    def _half_sent(self) -> None:
        message = "the collector is shutting down and the body was not there; nothing was stored"
        self.refuse(Refusal(STOPPING, message, headers=retry_after(2)))

    def refuse(self, refusal: Refusal) -> None:
        """Answer instead of the handler and end; after the answers of what was sent whole."""
        if self._is_over():
            return
        self._is_refused = True
        half = self._last
        if half is not None and not half.is_whole and half in self._waiting:
            self._waiting.remove(half)
        current = self._current
        given = b""
        if current is not None:
            if current.is_whole:
                return  # `_go_on` ends it
            given = current.answer_headers
            self._let_go(current)
        answer = refusal.answer()
        REQUESTS.labels("other", answer.status).inc()
        self._write(answer, given, CLOSE + b"\r\n" + answer.body)
        self.end()

    def _is_over(self) -> bool:
        """Whether no other request is taken here."""
        return self._is_ended or self._is_refused

    def _is_between_requests(self) -> bool:
        last = self._last
        return last is None or (last.is_answered and last.is_whole)

    def _await_headers(self) -> None:
        if self._patience.awaited != "headers":
            self._patience.wait_for("headers", self._common.bounds.headers, self._headers_late)

    def _await_body(self) -> None:
        if self._patience.awaited != "body":
            self._patience.wait_for("body", self._common.bounds.body, self._body_late)

    def _await_next(self) -> None:
        self._patience.wait_for("next", self._common.bounds.keep_alive, self.end)


def _overloaded(why: str) -> Refusal:
    message = f"{why}; nothing was stored, retry shortly"
    return Refusal(OVERLOADED, message, headers=retry_after(1))
