"""Request bodies: read piece by piece, unpacked, and never more than was agreed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from starlette.requests import Request

from headrace.store.server.answers import Refusal
from headrace.store.server.compressed_blocks import BlockUnpacker
from headrace.store.server.encodings import Unpacker, unpacker
from headrace.store.server.protocol import Asked


async def pieces(request: Request, asked: Asked, most: int) -> AsyncIterator[bytes]:
    """The body after decompression, in pieces of some mebibytes at most.

    Raises `Refusal` past `most` bytes and Starlette's `ClientDisconnect` if it is cut off.
    """
    unpack = unpacker(asked.content_encoding)
    if asked.sends_blocks:
        unpack = _Both(unpack, BlockUnpacker())
    taken = arrived = 0
    async for data in request.stream():
        arrived += len(data)
        for piece in unpack.feed(data):
            taken += len(piece)
            if taken > most:
                raise Refusal(
                    229,
                    "QUERY_IS_TOO_LARGE",
                    f"The body is larger than {most} bytes after decompression",
                )
            yield piece
    if arrived:
        unpack.finish()


async def whole(request: Request, asked: Asked, most: int) -> bytes:
    """All of it."""
    return b"".join([piece async for piece in pieces(request, asked, most)])


class _Both:
    """One within the other."""

    def __init__(self, outer: Unpacker, inner: Unpacker) -> None:
        self._outer = outer
        self._inner = inner

    def feed(self, data: bytes) -> Iterator[bytes]:
        for piece in self._outer.feed(data):
            yield from self._inner.feed(piece)

    def finish(self) -> None:
        self._outer.finish()
        self._inner.finish()


async def hung_up(request: Request) -> None:
    """Returns when the client is gone; to be called once the body was read."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
