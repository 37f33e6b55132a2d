"""Where NDJSON comes from: a file or standard input, plain, gzip or zstd, as a stream of lines.

Owns decompression and the splitting into lines, both in bounded memory. What a line means is
`mapping.py`'s.
"""

from __future__ import annotations

import io
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import zstandard

from headrace.schemas.errors import HeadraceError
from headrace.schemas.records import MAX_BODY_BYTES

_READ_BYTES: Final = 256 * 1024
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_BOM: Final = b"\xef\xbb\xbf"
_ZSTD_PIECE_BYTES: Final = 2 * 1024
"""Fed at once: a frame of run-length blocks grows by up to 32,000, so this bounds a bomb."""
_STANDARD_INPUT: Final = 0
_OTHER_FORMAT: Final = re.compile(r"\.(csv|parquet)(\.gz|\.zst)?$", re.IGNORECASE)


class DamagedSource(HeadraceError):
    """The compressed stream is cut short or broken."""


class Source:
    """An open stream of bytes that knows how far it has been read.

    `size` is None where it cannot be known (standard input, a pipe); `position` counts bytes
    as they lie there, before decompression.
    """

    def __init__(self, name: str, raw: io.RawIOBase, size: int | None) -> None:
        self.name = name
        self.size = size
        self.position = 0
        self._raw = raw

    def lines(self, max_line_bytes: int = MAX_BODY_BYTES) -> Iterator[bytes | None]:
        """The lines without their ends; None stands for one longer than `max_line_bytes`.

        Raises `DamagedSource`, after all that could be read, if compressed bytes are broken.
        """
        return split_lines(decompress(self._chunks()), max_line_bytes)

    def _chunks(self) -> Iterator[bytes]:
        while chunk := self._read():
            self.position += len(chunk)
            yield chunk

    def _read(self) -> bytes | None:
        try:
            return self._raw.read(_READ_BYTES)
        except OSError as error:  # standard input may be a folder, a disk may be broken
            raise HeadraceError(f"cannot read {self.name}: {error.strerror}") from error


@contextmanager
def open_source(path: Path | None) -> Iterator[Source]:
    """A file, or standard input for None and `-`. Raises `HeadraceError` if it cannot be read."""
    standard_input = path is None or str(path) == "-"
    name = "standard input" if standard_input else str(path)
    if path is not None and _OTHER_FORMAT.search(path.name):
        raise HeadraceError(
            f"{name} is named like CSV or Parquet, and `headrace send` takes NDJSON: one JSON "
            "object a line, as `headrace export` writes it for .ndjson"
        )
    try:
        # Unbuffered: a reader blocked inside a buffered stdin keeps the interpreter from ending.
        raw = io.FileIO(_STANDARD_INPUT, closefd=False) if standard_input else io.FileIO(str(path))
        size = None if standard_input else _size_of(raw)
    except OSError as error:
        raise HeadraceError(f"cannot read {name}: {error.strerror}") from error
    with raw:
        yield Source(name, raw, size)


def _size_of(file: io.FileIO) -> int | None:
    about = os.fstat(file.fileno())
    return about.st_size if stat.S_ISREG(about.st_mode) else None


def decompress(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Bytes as they were before compression, told from their first bytes."""
    head = b""
    while len(head) < len(_ZSTD_MAGIC) and (chunk := next(chunks, b"")):
        head += chunk
    rest = _after(head, chunks)
    if head.startswith(_GZIP_MAGIC):
        return _gunzip(rest)
    return _unzstd(rest) if head.startswith(_ZSTD_MAGIC) else rest


def _after(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from chunks


def _gunzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Every member of a gzip stream; zeros after the last one are padding."""
    member = zlib.decompressobj(wbits=31)
    begun = False
    for chunk in chunks:
        data = chunk
        while data:
            if not begun and not (data := data.lstrip(b"\0")):
                break
            try:
                yield member.decompress(data, _READ_BYTES)
            except zlib.error as error:
                raise DamagedSource(f"the gzip stream is broken: {error}") from error
            begun, data = True, member.unconsumed_tail
            if member.eof:
                begun, data, member = False, member.unused_data, zlib.decompressobj(wbits=31)
    if begun:
        raise DamagedSource("the gzip stream is cut short")


def _unzstd(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Every frame of a zstd stream."""
    decompressor = zstandard.ZstdDecompressor()
    frame = decompressor.decompressobj()
    begun = False
    for chunk in chunks:
        for start in range(0, len(chunk), _ZSTD_PIECE_BYTES):
            data = chunk[start : start + _ZSTD_PIECE_BYTES]
            while data:
                try:
                    yield frame.decompress(data)
                except zstandard.ZstdError as error:
                    raise DamagedSource(f"the zstd stream is broken: {error}") from error
                begun, data = not frame.eof, frame.unused_data
                if frame.eof:
                    frame = decompressor.decompressobj()
    if begun:
        raise DamagedSource("the zstd stream is cut short")


def split_lines(chunks: Iterator[bytes], max_line_bytes: int) -> Iterator[bytes | None]:
    """Lines, split at `\\n` alone; None for each that is longer than allowed."""
    carry = b""
    first = True
    too_long = False
    for chunk in chunks:
        pieces = (carry + chunk).split(b"\n")
        if first and pieces[0]:
            pieces[0] = pieces[0].removeprefix(_BOM)
            first = False
        carry = pieces.pop()
        for piece in pieces:
            yield None if too_long or len(piece) > max_line_bytes else piece
            too_long = False
        if len(carry) > max_line_bytes:
            carry, too_long = b"", True
    if carry or too_long:
        yield None if too_long else carry
