"""A request as it arrives on a connection, and what all connections have in common.

Owns the pieces of a body between the one who reads them off the wire (`connection.py`) and the one
who takes them (`bodies.py`), and the count of those that nobody has taken.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from headrace.collector.express import Express
from headrace.collector.heads import Heads
from headrace.collector.requests import ClientGone, Handler, Incoming


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that a client may take; `half_sent` is for bodies that were being sent when the
    collector was told to end."""

    headers: float = 10.0
    body: float = 30.0
    keep_alive: float = 75.0
    half_sent: float = 2.0


class Stoppable(Protocol):
    """A connection, to whoever ends the server."""

    def stop(self) -> None:
        """Answer what is being appended, wait a moment for what is half sent, then close."""
        ...

    def cut(self) -> None:
        """Close now, whatever is on its way."""
        ...


class Source(Protocol):
    """A connection, to a request whose body it reads."""

    def taken(self, request: Request, size: int) -> None:
        """Somebody took a piece of so many bytes of the request's body."""
        ...

    def go_ahead(self, request: Request) -> None:
        """The body is wanted; the client waits for this before it sends it."""
        ...


class App(msgspec.Struct, frozen=True):
    """The collector, to a server: how requests are answered, and the way of those that are like
    many before them, if there is one."""

    handler: Handler
    express: Express | None = None


class Common:
    """What the connections of a server have in common."""

    def __init__(self, app: App, bounds: Bounds) -> None:
        self.handler = app.handler
        self.express = app.express
        self.bounds = bounds
        self.connections: set[Stoppable] = set()
        self.orphans: set[asyncio.Future[None]] = set()
        """Requests whose client is gone; what they append is appended all the same."""
        self.heads = Heads(app.express.takes) if app.express else Heads()
        self.untaken_bytes = 0
        self.date = b""
        """The header's line; whoever serves renews it."""
        self._change = asyncio.Event()

    def lose(self, connection: Stoppable, answering: asyncio.Future[None] | None) -> None:
        """The connection is gone; `answering` is its last request, which goes on."""
        self.connections.discard(connection)
        if answering is not None:
            self.orphans.add(answering)
            answering.add_done_callback(self._forget)
        self._change.set()

    async def wait_for_all(self) -> None:
        """Until every connection is gone and every request over."""
        while self.connections or self.orphans:
            self._change.clear()
            await self._change.wait()

    def _forget(self, answering: asyncio.Future[None]) -> None:
        self.orphans.discard(answering)
        self._change.set()


class Request(Incoming):
    """A request on a connection: what arrived of its body, and where it stands."""

    __slots__ = (
        "_source",
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
        source: Source,
        method: str,
        path: str,
        query: bytes,
        headers: dict[bytes, bytes],
        peer: str,
    ) -> None:
        super().__init__(method, path, query, headers, peer)
        self._source = source
        self.pieces: list[bytes] = []
        self.untaken_bytes = 0
        self.keep_alive = True
        self.expects_go_ahead = False
        self.is_whole = False
        self.is_answered = False
        self.is_gone = False
        """Nobody waits for its answer any more."""
        self.arrival: asyncio.Future[None] | None = None

    def take_whole(self) -> bytes | None:
        return self._take() if self.is_whole and len(self.pieces) == 1 else None

    async def next_piece(self) -> tuple[bytes, bool]:
        while not self.is_gone:
            if self.pieces:
                return self._take(), self.is_whole
            if self.is_whole:
                return b"", True
            if self.expects_go_ahead:
                self._source.go_ahead(self)
            self.arrival = asyncio.get_running_loop().create_future()
            await self.arrival
        raise ClientGone

    def _take(self) -> bytes:
        """What has come, all at once: a client may send it byte by byte."""
        piece = b"".join(self.pieces)
        self.pieces.clear()
        self._source.taken(self, len(piece))
        return piece

    def note_arrival(self) -> None:
        """Wake who waits for more."""
        arrival, self.arrival = self.arrival, None
        if arrival is not None and not arrival.done():
            arrival.set_result(None)
