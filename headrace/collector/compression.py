"""Compressed bodies: the encodings that are taken, opened without ever exceeding a bound.

Owns `Content-Encoding`. The bound holds while decompressing, window memory included; a stream
that ends early, has something behind it or is of another kind is told apart from one that is
too large.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Generator, Iterator
from types import ModuleType
from typing import Final

import zstandard

from headrace.collector.answers import BAD_ENCODING, WRONG_MEDIA, Refusal, header_line
from headrace.collector.requests import Body

try:
    from isal import isal_zlib
except ImportError:  # isal has no wheels for some machines
    _zlib: ModuleType = zlib
else:
    _zlib = isal_zlib

ENCODINGS: Final = ("gzip", "deflate", "zstd")

_CHUNK_BYTES: Final = 256 * 1024
_FED_BYTES: Final = 16 * 1024
_MAX_MEMBERS: Final = 1_000
_MAX_WINDOW_BYTES: Final = 8 * 1024 * 1024
"""What RFC 9659 asks of receivers of zstd, and no more."""
_GZIP: Final = 16 + zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS


class TooMuch(Exception):
    """More bytes than the bound came out."""


class _Broken(Exception):
    """The stream is not what it should be; the message says how."""


_ERRORS: Final = (_Broken, zlib.error, _zlib.error, zstandard.ZstdError)


def encoding_of(header: str) -> str:
    """The one encoding of a body, "" for none; raises `Refusal` for what is not taken."""
    tokens = [token.strip().lower() for token in header.split(",")]
    named = [token.removeprefix("x-") for token in tokens if token not in ("", "identity")]
    if not named:
        return ""
    if len(named) > 1 or named[0] not in ENCODINGS:
        taken = ", ".join(ENCODINGS)
        raise Refusal(
            WRONG_MEDIA,
            f"Content-Encoding {header[:60]!r} is not taken; use one of {taken}, or none",
            headers=header_line(b"accept-encoding", taken.encode()),
        )
    return named[0]


def decompress(encoding: str, data: Body, max_bytes: int) -> Body:
    """The body. Raises `TooMuch`, or `Refusal` if `data` is not of this encoding."""
    opened = bytearray()
    try:
        for chunk in _OPENERS[encoding](data):
            if len(opened) + len(chunk) > max_bytes:
                raise TooMuch
            opened += chunk
    except _ERRORS as error:
        raise Refusal(
            BAD_ENCODING, f"the body cannot be opened as {encoding}, its Content-Encoding: {error}"
        ) from error
    return opened


def _gzip(data: Body) -> Iterator[bytes]:
    """Members one behind the other; zeros behind the last are padding."""
    at = 0
    for _ in range(_MAX_MEMBERS):
        at = yield from _inflate(data, at, _GZIP)
        if not data[at:].strip(b"\0"):
            return
    raise _Broken(f"it has over {_MAX_MEMBERS:,} members")


def _deflate(data: Body) -> Iterator[bytes]:
    """The name means zlib's format, but some senders leave its header out."""
    is_zlib = len(data) >= 2 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
    end = yield from _inflate(data, 0, zlib.MAX_WBITS if is_zlib else _RAW)
    if end < len(data):
        raise _Broken(f"{len(data) - end:,} bytes follow its end")


def _inflate(data: Body, at: int, window_bits: int) -> Generator[bytes, None, int]:
    """Yields what the stream at `at` holds; returns where it ends."""
    stream = _zlib.decompressobj(wbits=window_bits)
    fed: Body = b""
    while not stream.eof:
        # In slices, because what is left of the input is copied with every chunk of output.
        if not fed:
            fed = data[at : at + _FED_BYTES]
            at += len(fed)
        no_more = not fed
        chunk = stream.decompress(fed, _CHUNK_BYTES)
        if no_more and not chunk and not stream.eof:
            raise _Broken("it ends too early")
        fed = stream.unconsumed_tail
        yield chunk
    return at - len(stream.unused_data)


def _zstd(data: Body) -> Iterator[bytes]:
    # A reader, because the one-shot call believes the size that a frame declares.
    opener = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    reader = opener.stream_reader(io.BytesIO(data), read_across_frames=True)
    return iter(lambda: reader.read(_CHUNK_BYTES), b"")


_OPENERS: Final[dict[str, Callable[[Body], Iterator[bytes]]]] = {
    "gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
