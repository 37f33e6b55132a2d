"""Bytes of a connection into heads, bodies and ends: HTTP/1.1 as httptools reads it.

Owns what the parser is told and asked, what becomes of offers to speak another protocol, and how
long request line and headers may be. What is done with a request is `connection.py`'s.
"""

from __future__ import annotations

from typing import Final, Protocol

import httptools
import structlog

from headrace.collector.answers import BAD_HTTP, LONG_HEADERS, WRONG_METHOD, Refusal, header_line
from headrace.collector.requests import Head, by_name
from headrace.collector.wire import split_target

MAX_HEADER_BYTES: Final = 64 * 1024

_UPGRADING: Final = frozenset({b"upgrade", b"connection", b"http2-settings"})
_TUNNEL: Final = Refusal(
    WRONG_METHOD, "CONNECT is for proxies; use POST", headers=header_line(b"allow", b"GET, POST")
)

_log = structlog.get_logger(__name__)


class ParsedHead(Head, frozen=True):
    """A head, and what it says of the connection and the body."""

    keep_alive: bool
    expects_go_ahead: bool


class Reader(Protocol):
    """A connection, to its parser: what the bytes were is told in their order."""

    def head_came(self, head: ParsedHead) -> None:
        """A request has begun."""
        ...

    def body_came(self, piece: bytes) -> None:
        """More of its body."""
        ...

    def request_ended(self) -> None:
        """That was all of it."""
        ...

    def refuse(self, refusal: Refusal) -> None:
        """What was sent cannot be read; whatever else is told is not to be heard."""
        ...

    def fail(self) -> None:
        """It has raised something itself."""
        ...


class Parser:
    """One connection's. `in_headers` while those of a request have come in part."""

    def __init__(self, reader: Reader) -> None:
        self.in_headers = False
        self._reader = reader
        self._parser = self._new_parser()
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._upgrades = False
        self._unclaimed_bytes = 0
        self._piece_bytes = 0

    def feed(self, data: bytes) -> None:
        """Read what came, and tell it."""
        self._piece_bytes = len(data)
        self._unclaimed_bytes += self._piece_bytes
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError:
            _log.exception("a connection failed")
            self._reader.fail()
        except httptools.HttpParserError as error:
            self._reader.refuse(_no_http(error))
        if self._unclaimed_bytes > MAX_HEADER_BYTES:
            self._reader.refuse(_long_headers())

    def skip(self) -> None:
        """A whole request was read without it."""
        self._unclaimed_bytes = 0

    def end(self) -> None:
        """Refer to nobody any more."""
        del self._parser, self._reader

    def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                if self._parser.get_method() == b"CONNECT":
                    self._reader.refuse(_TUNNEL)
                    return
                self._go_on_without_upgrade()
                rest = rest[upgrade.args[0] :]
            else:
                return

    def _go_on_without_upgrade(self) -> None:
        # Java's client offers HTTP/2 like this, body included. An offer may be ignored
        # (RFC 9110, 7.8), but the parser takes what follows for the other protocol.
        lines = [b"%s %s HTTP/1.1" % (self._parser.get_method(), self._url)]
        lines += [b"%s: %s" % header for header in self._headers if header[0] not in _UPGRADING]
        self._parser = self._new_parser()
        self._parser.feed_data(b"\r\n".join([*lines, b"", b""]))

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # What follows a request with `Connection: close` does not cost its answer.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    # What httptools calls

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self.in_headers = True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._upgrades = self._parser.should_upgrade()
        if self._upgrades:
            return
        self.in_headers = False
        # Counted only where they can be too long: a piece may begin with another request's end.
        could_be = self._unclaimed_bytes + self._piece_bytes
        self._unclaimed_bytes = 0
        if could_be > MAX_HEADER_BYTES and self._header_bytes() > MAX_HEADER_BYTES:
            self._reader.refuse(_long_headers())
            return
        try:
            head = self._head()
        except ValueError as error:
            self._reader.refuse(_no_http(error))
            return
        self._reader.head_came(head)

    def on_body(self, body: bytes) -> None:
        self._unclaimed_bytes = 0
        self._reader.body_came(body)

    def on_message_complete(self) -> None:
        if not self._upgrades:
            self._unclaimed_bytes = 0
            self._reader.request_ended()

    def _head(self) -> ParsedHead:
        """Raises `ValueError` for a target that is none."""
        path, query = split_target(self._url)
        headers = by_name(self._headers)
        self._headers = []  # trailers, which nobody asked for, end there
        parser = self._parser
        keep_alive = parser.should_keep_alive()
        # Without one of these HTTP/1.0 ends by itself, and to ask for the version takes 0.3 µs.
        is_asked = b"connection" in headers or b"proxy-connection" in headers
        if is_asked and parser.get_http_version() == "1.0":
            keep_alive = False
        expects = b"expect" in headers and headers[b"expect"].lower() == b"100-continue"
        return ParsedHead(parser.get_method().decode(), path, query, headers, keep_alive, expects)

    def _header_bytes(self) -> int:
        return len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)


def _no_http(error: Exception) -> Refusal:
    return Refusal(BAD_HTTP, f"that is not HTTP/1.1: {error}")


def _long_headers() -> Refusal:
    message = f"request line and headers are over {MAX_HEADER_BYTES:,} bytes; send fewer"
    return Refusal(LONG_HEADERS, message)
