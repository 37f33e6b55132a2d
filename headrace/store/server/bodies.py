"""Request bodies: read piece by piece, unpacked, and never more than was agreed."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request

from headrace.store.server.answers import Refusal
from headrace.store.server.encodings import unpacker


async def pieces(request: Request, content_encoding: str, most: int) -> AsyncIterator[bytes]:
    """The body after decompression, in pieces of some mebibytes at most.

    Raises `Refusal` past `most` bytes and Starlette's `ClientDisconnect` if it is cut off.
    """
    unpack = unpacker(content_encoding)
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


async def whole(request: Request, content_encoding: str, most: int) -> bytes:
    """All of it."""
    return b"".join([piece async for piece in pieces(request, content_encoding, most)])


async def hung_up(request: Request) -> None:
    """Returns when the client is gone; to be called once the body was read."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
