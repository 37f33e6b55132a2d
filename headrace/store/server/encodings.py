"""Bodies over HTTP: what comes in compressed, bounded while it is unpacked, and what goes out.

lz4 is the LZ4 *frame* format, as ClickHouse's HTTP interface means it. Its own block framing
(`compress=1`, `decompress=1`) is `compressed_blocks.py`'s.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import lz4.frame
import zstandard

from headrace.store.server.answers import Refusal

_STEP: Final = 1024 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
_SMALL: Final = 512
"""Answers below this are sent as they are."""


class Unpacker(Protocol):
    """Takes what arrived, gives pieces of at most about a mebibyte."""

    def feed(self, data: bytes) -> Iterator[bytes]: ...

    def finish(self) -> None:
        """Raises `Refusal` if the stream was cut off."""
        ...


class _Plain:
    def feed(self, data: bytes) -> Iterator[bytes]:
        if data:
            yield data

    def finish(self) -> None:
        return


class _Zlib:
    """gzip (several members, as RFC 1952 has it) and deflate (zlib or raw, as senders differ)."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._stream = zlib.decompressobj(window)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream.eof:
                self._stream = zlib.decompressobj(self._window)
            piece, data = self._step(data)
            if piece:
                yield piece

    def _step(self, data: bytes) -> tuple[bytes, bytes]:
        try:
            piece = self._stream.decompress(data, _STEP)
        except zlib.error as error:
            if self._begun or self._window != zlib.MAX_WBITS:
                raise _broken(error) from error
            self._window = -zlib.MAX_WBITS
            self._stream = zlib.decompressobj(self._window)
            self._begun = True
            return b"", data
        self._begun = True
        return piece, self._stream.unconsumed_tail or self._stream.unused_data

    def finish(self) -> None:
        if not self._stream.eof:
            raise _broken("it ends too early")


class _Zstd:
    def __init__(self) -> None:
        # A window above 8 MiB would let the sender choose how much memory we take.
        self._context = zstandard.ZstdDecompressor(max_window_size=8 * _STEP)
        self._stream = self._context.decompressobj()
        self._open = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        # decompressobj has no output bound, so the input goes in small steps: a block of the
        # format is 4 bytes at least and 128 KiB at most, which makes 16 MiB of 512 bytes.
        for start in range(0, len(data), 512):
            rest = data[start : start + 512]
            while rest:
                if self._stream.eof:
                    self._stream = self._context.decompressobj()
                self._open = True
                try:
                    piece = self._stream.decompress(rest)
                except zstandard.ZstdError as error:
                    raise _broken(error) from error
                rest = self._stream.unused_data if self._stream.eof else b""
                if piece:
                    yield piece

    def finish(self) -> None:
        if not self._open or not self._stream.eof:
            raise _broken("it ends too early")


class _Lz4:
    def __init__(self) -> None:
        self._stream = lz4.frame.LZ4FrameDecompressor()
        self._open = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._open = self._open or bool(data)
        while data or not self._stream.needs_input:
            if self._stream.eof:
                if not data:
                    return
                self._stream = lz4.frame.LZ4FrameDecompressor()
            try:
                piece = self._stream.decompress(data, max_length=_STEP)
            except (RuntimeError, EOFError) as error:
                raise _broken(error) from error
            data = self._stream.unused_data or b"" if self._stream.eof else b""
            if piece:
                yield piece
            elif not data:
                return

    def finish(self) -> None:
        if not self._open or not self._stream.eof:
            raise _broken("it ends too early")


def _broken(why: object) -> Refusal:
    return Refusal(271, "CANNOT_DECOMPRESS", f"The body cannot be decompressed: {why}")


_UNPACKERS: Final[dict[str, Callable[[], Unpacker]]] = {
    "": _Plain,
    "identity": _Plain,
    "gzip": lambda: _Zlib(_GZIP),
    "x-gzip": lambda: _Zlib(_GZIP),
    "deflate": lambda: _Zlib(zlib.MAX_WBITS),
    "zstd": _Zstd,
    "lz4": _Lz4,
}


def unpacker(content_encoding: str) -> Unpacker:
    """For a request's `Content-Encoding`; raises `Refusal` for one that is not spoken."""
    make = _UNPACKERS.get(content_encoding.strip().lower())
    if make is None:
        raise Refusal(
            89,
            "UNKNOWN_COMPRESSION_METHOD",
            f"Content-Encoding '{content_encoding}' is not spoken here;"
            " send gzip, deflate, zstd, lz4 or a plain body",
        )
    return make()


class Packer(Protocol):
    """One answer's compressor."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Lz4Packer:
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._head = self._frame.begin()

    def compress(self, data: bytes, /) -> bytes:
        head, self._head = self._head, b""
        return bytes(head + self._frame.compress(data))

    def flush(self) -> bytes:
        return bytes(self._head + self._frame.flush())


_PACKERS: Final[dict[str, Callable[[], Packer]]] = {
    # Cheapest first: the server is busier than the wire.
    "lz4": _Lz4Packer,
    "zstd": lambda: zstandard.ZstdCompressor(level=1).compressobj(),
    "gzip": lambda: zlib.compressobj(3, wbits=_GZIP),
    "deflate": lambda: zlib.compressobj(3),
}


def answer_encoding(accept_encoding: str) -> str | None:
    """The encoding to answer in, from `Accept-Encoding`; None for a plain answer."""
    accepted: set[str] = set()
    for part in accept_encoding.lower().split(","):
        name, _, quality = part.partition(";")
        if quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}:
            accepted.add(name.strip())
    return next((name for name in _PACKERS if name in accepted), None)


def packer(encoding: str) -> Packer:
    return _PACKERS[encoding]()


def worth_packing(size: int) -> bool:
    return size >= _SMALL
