"""Heads of requests that came before: the same bytes mean the same, and are not read again.

An SDK sends one request line and one set of headers again and again, and only the body differs.
To parse a head takes a call for every header in it, a tenth of what a single event costs; to find
it among those that were parsed takes one look. Heads that cannot come again (with an idempotency
key, a trace, or what some proxy adds) are not kept: a head is when it comes for the second time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from headrace.collector.requests import Head, Incoming

END: Final = b"\r\n\r\n"
MAX_REQUEST_BYTES: Final = 16 * 1024
"""Larger requests are not looked up: to cut them in two would copy them."""

_MAX_HEAD_BYTES: Final = 2_048
_MAX_HEADERS: Final = 32
"""Short headers take thirty times their bytes; whoever has no key may send them, too."""
_MAX_HEADS: Final = 1_024
_MAX_SEEN: Final = 8_192
NEW_EVERY_TIME: Final = frozenset({b"idempotency-key", b"traceparent", b"x-request-id"})


class KnownHead(Head, frozen=True):
    """What the parser made of a head, and how many bytes of body follow it."""

    body_bytes: int
    is_express: bool
    """Whether requests with it may go the express way (`express.py`)."""


class Heads:
    """The heads of whole requests with a body, on connections that stay open."""

    def __init__(self, is_express: Callable[[Incoming], bool] = lambda _: False) -> None:
        self._is_express = is_express
        self._known: dict[bytes, KnownHead] = {}
        self._seen_once: set[int] = set()

    def find(self, head: bytes, body: bytes) -> KnownHead | None:
        """What the parser would make of a head, if it did before and the body is whole."""
        known = self._known.get(head)
        return known if known is not None and known.body_bytes == len(body) else None

    def learn(self, head: bytes, body: bytes, request: Incoming) -> None:
        """`request` is what the parser has just made of a head and a body.

        They may still be something else: two requests, or the beginning of one. Then the length
        that the head announces is not the body's.
        """
        headers = request.headers
        if (
            not body
            or len(headers) > _MAX_HEADERS
            or not NEW_EVERY_TIME.isdisjoint(headers)
            or len(head) > _MAX_HEAD_BYTES
            or headers.get(b"content-length") != b"%d" % len(body)
        ):
            return
        mark = hash(head)
        if mark not in self._seen_once:
            if len(self._seen_once) >= _MAX_SEEN:
                self._seen_once.clear()
            self._seen_once.add(mark)
            return
        self._seen_once.discard(mark)
        if len(self._known) >= _MAX_HEADS:
            del self._known[next(iter(self._known))]
        self._known[head] = KnownHead(
            request.method,
            request.path,
            request.query,
            headers.copy(),
            len(body),
            self._is_express(request),
        )
