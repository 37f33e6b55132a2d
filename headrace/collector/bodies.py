"""Reading request bodies: bounded each by itself, bounded all together.

Owns what a body may weigh and how much of all bodies is held at once. Every request that holds a
body does so through `Budget.hold()` until its events are in the log. How long one may take is
`connection.py`'s, decompression `compression.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from headrace.collector.answers import (
    OVERLOADED,
    TOO_LARGE,
    WRONG_MEDIA,
    Refusal,
    header_line,
    retry_after,
)
from headrace.collector.compression import TooMuch, decompress, encoding_of
from headrace.collector.requests import Body, Incoming
from headrace.runtime.metrics import BYTES_IN_FLIGHT
from headrace.schemas.records import MAX_BODY_BYTES

WAIT_SECONDS: Final = 2.0
"""How long a request waits for room before it is told to come back."""

_MAX_WAITING: Final = 64
_SMALL_BYTES: Final = 256 * 1024
_USUAL_RATIO: Final = 8
"""Product events shrink to an eighth when compressed; room for it is taken beforehand."""
_COMPRESSED_SLACK_BYTES: Final = 64 * 1024
_JSON_TYPES: Final = frozenset({"", "application/json", "text/json", "text/plain"})
USUAL_TYPES: Final = frozenset({b"", b"application/json"})
_ENCODING: Final = b"content-encoding"

Aside = Callable[..., Awaitable[Any]]
"""Runs a function with arguments where it does not hold up other requests."""


class Budget:
    """The bytes all requests together may hold."""

    def __init__(self, max_bytes: int, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self.max_bytes = max_bytes
        self.used = 0
        self._wait_seconds = wait_seconds
        self._holders: dict[Held, None] = {}
        self._waiting: dict[Held, tuple[asyncio.Future[None], int]] = {}
        BYTES_IN_FLIGHT.set_function(lambda: self.used)

    def hold(self) -> Held:
        """What one request holds; a context at whose end all of it is given back."""
        return Held(self)

    def enter(self, held: Held) -> None:
        self._holders[held] = None

    def leave(self, held: Held) -> None:
        del self._holders[held]
        held.resize(0)
        self._wake()

    def fits(self, held: Held, count: int) -> bool:
        """Whether `count` more bytes may be held.

        The request that began first is never refused: were all of them held up half-way, none
        would end and give its room back.
        """
        return self.has_room(count) or next(iter(self._holders)) is held

    def has_room(self, count: int) -> bool:
        """Whether anybody may hold `count` bytes more."""
        return self.used + count <= self.max_bytes

    def change(self, count: int) -> None:
        """So many bytes more are held from now on, or fewer."""
        self.used += count
        if count < 0:
            self._wake()

    async def wait_for(self, held: Held, count: int) -> None:
        """Wait for room, first come first served; raises `Refusal` after a moment."""
        if len(self._waiting) >= _MAX_WAITING:
            raise _overloaded()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[held] = (turn, count)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except TimeoutError:
            raise _overloaded() from None
        finally:
            self._waiting.pop(held, None)

    def _wake(self) -> None:
        if not self._waiting:
            return
        first = next(iter(self._holders), None)
        if first in self._waiting:
            self._let_go_on(first)
        while self._waiting:
            longest = next(iter(self._waiting))
            if not self.fits(longest, self._waiting[longest][1]):
                return
            self._let_go_on(longest)

    def _let_go_on(self, held: Held) -> None:
        turn, count = self._waiting.pop(held)
        held.resize(held.size + count)
        if not turn.done():
            turn.set_result(None)


class Held:
    """The bytes one request holds."""

    __slots__ = ("_budget", "size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.size = 0

    def __enter__(self) -> Held:
        self._budget.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.leave(self)

    def grew(self, count: int) -> bool:
        """Hold `count` more if there is room for it now."""
        if not self._budget.fits(self, count):
            return False
        self.size += count
        self._budget.used += count
        return True

    async def grow(self, count: int) -> None:
        """Hold `count` more, after a wait if need be; raises `Refusal`."""
        if not self.grew(count):
            await self._budget.wait_for(self, count)

    def resize(self, size: int) -> None:
        """Hold this much from now on."""
        change, self.size = size - self.size, size
        self._budget.change(change)


async def read_body(request: Incoming, held: Held, *, aside: Aside) -> Body:
    """The whole body, decompressed; raises `Refusal`, or `ClientGone`."""
    headers = request.headers
    if headers.get(b"content-type", b"") not in USUAL_TYPES:
        _check_type(request.text(b"content-type"))
    encoding = "" if _ENCODING not in headers else encoding_of(request.text(_ENCODING))
    max_bytes = MAX_BODY_BYTES + (_COMPRESSED_SLACK_BYTES if encoding else 0)
    body: Body | None = request.take_whole()
    last = True
    if body is None:
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > max_bytes:
            raise _too_large()
        body, last = await request.next_piece()
    if not held.grew(len(body)):
        await held.grow(len(body))
    if not last or len(body) > max_bytes:
        body = await _collect(bytearray(body), request, held, max_bytes)
    return await _opened(encoding, body, held, aside) if encoding else body


async def _collect(body: bytearray, request: Incoming, held: Held, max_bytes: int) -> bytearray:
    last = False
    while not last and len(body) <= max_bytes:
        chunk, last = await request.next_piece()
        await held.grow(len(chunk))
        body += chunk
    if len(body) > max_bytes:
        raise _too_large()
    return body


async def _opened(encoding: str, data: Body, held: Held, aside: Aside) -> Body:
    compressed = len(data)
    expected = min(MAX_BODY_BYTES, compressed * _USUAL_RATIO)
    await held.grow(expected)
    try:
        if compressed > _SMALL_BYTES:
            body: Body = await aside(decompress, encoding, data, MAX_BODY_BYTES)
        else:
            body = decompress(encoding, data, MAX_BODY_BYTES)
    except TooMuch:
        raise _too_large() from None
    if not held.grew(max(0, len(body) - expected)):
        raise _overloaded()
    held.resize(len(body))
    return body


def _check_type(header: str) -> None:
    kind, _, parameters = header.partition(";")
    kind = kind.strip().lower()
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
    if kind in _JSON_TYPES or kind.endswith("+json"):
        if charset in ("", "utf-8", "utf8", "us-ascii"):
            return
        raise Refusal(WRONG_MEDIA, f"the charset {charset[:40]!r} is not taken; send UTF-8")
    raise Refusal(
        WRONG_MEDIA,
        f"Content-Type {kind[:60]!r} is not taken; send JSON as application/json",
        headers=header_line(b"accept", b"application/json"),
    )


def _too_large() -> Refusal:
    return Refusal(
        TOO_LARGE,
        f"the body is over {MAX_BODY_BYTES:,} bytes (10 MiB), counted after decompression; "
        "send fewer events at once",
    )


def _overloaded() -> Refusal:
    return Refusal(
        OVERLOADED,
        "the collector holds as many bodies as it may; nothing was stored, retry shortly",
        headers=retry_after(1),
    )
