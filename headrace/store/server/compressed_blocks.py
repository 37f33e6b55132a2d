"""ClickHouse's own compression of a body, block by block (`compress=1`, `decompress=1`).

Owns the framing (`src/Compression/CompressedReadBufferBase.cpp`): CityHash128 of what follows, how
it is compressed, both lengths, the bytes. The hash is a library's, of the version that ClickHouse
uses (1.0.2); later ones differ in details.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

import lz4.block
import zstandard
from clickhouse_cityhash.cityhash import CityHash128

from headrace.store.server.answers import Refusal

_HASH_BYTES: Final = 16
_HEAD: Final = struct.Struct("<BII")
"""The method, and the lengths with this head and after decompression."""
_WRITTEN_BYTES: Final = 1024 * 1024
_MOST_BYTES: Final = 4 * 1024 * 1024
"""Of one block, compressed or not; clients write a mebibyte at most."""


class _Method(IntEnum):
    NONE = 0x02
    LZ4 = 0x82
    ZSTD = 0x90


class BlockPacker:
    """An answer in such blocks, compressed by LZ4."""

    def compress(self, data: bytes, /) -> bytes:
        view = memoryview(data)
        starts = range(0, len(data), _WRITTEN_BYTES)
        return b"".join([_block(view[start : start + _WRITTEN_BYTES]) for start in starts])

    def flush(self) -> bytes:
        return b""


class BlockUnpacker:
    """A body in such blocks, compressed by any of the methods that clients offer."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._rest += data
        while (length := self._length()) is not None:
            block = bytes(memoryview(self._rest)[:length])
            del self._rest[:length]
            yield _unpacked(block)

    def finish(self) -> None:
        if self._rest:
            raise _broken("it ends within a block")

    def _length(self) -> int | None:
        """Of the first block with its hash, if it is here whole."""
        if len(self._rest) < _HASH_BYTES + _HEAD.size:
            return None
        _, packed, plain = _HEAD.unpack_from(self._rest, _HASH_BYTES)
        if not (_HEAD.size <= packed <= _MOST_BYTES and plain <= _MOST_BYTES):
            raise _broken(f"a block of {packed} bytes, {plain} when unpacked")
        return _HASH_BYTES + packed if len(self._rest) >= _HASH_BYTES + packed else None


def _block(data: memoryview) -> bytes:
    packed: bytes = lz4.block.compress(data, store_size=False)
    block = _HEAD.pack(_Method.LZ4, _HEAD.size + len(packed), len(data)) + packed
    return _hash(block) + block


def _unpacked(block: bytes) -> bytes:
    if _hash(block[_HASH_BYTES:]) != block[:_HASH_BYTES]:
        raise _broken("the checksum of a block is wrong")
    method, _, plain = _HEAD.unpack_from(block, _HASH_BYTES)
    packed = block[_HASH_BYTES + _HEAD.size :]
    try:
        match method:
            case _Method.NONE:
                found = packed
            case _Method.LZ4:
                found = lz4.block.decompress(packed, uncompressed_size=plain)
            case _Method.ZSTD:
                found = zstandard.ZstdDecompressor().decompress(packed, max_output_size=plain)
            case _:
                raise _broken(f"its method 0x{method:02x} is not known; send LZ4, ZSTD or none")
    except (lz4.block.LZ4BlockError, zstandard.ZstdError, ValueError, MemoryError) as error:
        raise _broken(error) from error
    if len(found) != plain:
        raise _broken(f"a block of {len(found)} bytes says that it has {plain}")
    return bytes(found)


def _hash(data: bytes) -> bytes:
    """The first half first, which the library gives as the upper one."""
    found: int = CityHash128(data)
    return struct.pack("<QQ", found >> 64, found & (2**64 - 1))


def _broken(why: object) -> Refusal:
    return Refusal(271, "CANNOT_DECOMPRESS", f"The body cannot be decompressed: {why}")
