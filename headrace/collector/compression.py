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
_MAX_BLOCKS: Final = 100_000
_SKIPPABLE: Final = range(0x184D2A50, 0x184D2A60)
_LONGEST_FRAME_HEADER: Final = 18
_RUN_OF_ONE_BYTE: Final = 1
_GZIP: Final = 16 + zlib.MAX_WBITS
_GZIP_MAGIC: Final = b"\x1f\x8b"
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
        rest = data[at:].strip(b"\0")
        if not rest:
            return
        if not rest.startswith(_GZIP_MAGIC):
            raise _Broken(f"{len(data) - at:,} bytes follow its end")
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
    _demand_whole_frames(data)
    # A reader, because the one-shot call believes the size that a frame declares.
    opener = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    reader = opener.stream_reader(io.BytesIO(data), read_across_frames=True)
    return iter(lambda: reader.read(_CHUNK_BYTES), b"")


def _demand_whole_frames(data: Body) -> None:
    """Raises unless each frame is there to its end: the reader takes what there is for all.

    The format is RFC 8878: frames of blocks that say how long they are and which is the last.
    """
    at = blocks = 0
    is_last = False
    while at < len(data):
        magic, size = (int.from_bytes(data[at + i : at + i + 4], "little") for i in (0, 4))
        if magic in _SKIPPABLE:
            at += 8 + size
            continue
        start = bytes(data[at : at + _LONGEST_FRAME_HEADER])
        frame = zstandard.get_frame_parameters(start)
        if frame.window_size > _MAX_WINDOW_BYTES:
            raise _Broken(
                f"its window is {frame.window_size:,} bytes, and at most {_MAX_WINDOW_BYTES:,} "
                "are taken (RFC 9659); use level 19 or less"
            )
        at += zstandard.frame_header_size(start)
        is_last = False
        while not is_last and at < len(data):
            header = int.from_bytes(data[at : at + 3], "little")
            is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            at += 3 + (1 if kind == _RUN_OF_ONE_BYTE else size)
            blocks += 1
            if blocks > _MAX_BLOCKS:
                raise _Broken(f"it has over {_MAX_BLOCKS:,} blocks")
        at += 4 * frame.has_checksum
        if not is_last:
            break
    if at != len(data) or not is_last:
        raise _Broken("it ends too early")


_OPENERS: Final[dict[str, Callable[[Body], Iterator[bytes]]]] = {
    "gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}
