"""ClickHouse's own compression of bodies."""

from __future__ import annotations

import struct

import lz4.block
import pytest
import zstandard
from clickhouse_cityhash.cityhash import CityHash128
from hypothesis import given
from hypothesis import strategies as st

from headrace.store.server.answers import Refusal
from headrace.store.server.compressed_blocks import BlockPacker, BlockUnpacker

NONE, LZ4, ZSTD = 0x02, 0x82, 0x90


def block(method: int, packed: bytes, plain: int) -> bytes:
    """A block with a right checksum."""
    content = struct.pack("<BII", method, 9 + len(packed), plain) + packed
    number = CityHash128(content)
    return struct.pack("<QQ", number >> 64, number & (2**64 - 1)) + content


def unpack(body: bytes, size: int = 7) -> bytes:
    """In small pieces."""
    unpacker = BlockUnpacker()
    found = b"".join(
        piece
        for start in range(0, len(body), size)
        for piece in unpacker.feed(body[start : start + size])
    )
    unpacker.finish()
    return found


@given(st.lists(st.binary(max_size=3_000), max_size=4))
def test_what_is_packed_is_unpacked(pieces: list[bytes]) -> None:
    """Each piece by itself, whatever is in it."""
    packer = BlockPacker()
    body = b"".join(map(packer.compress, pieces)) + packer.flush()
    assert unpack(body) == b"".join(pieces)


def test_a_large_answer_is_several_blocks() -> None:
    """Of a mebibyte each, as the server writes them."""
    data = b"x" * (2 * 1024 * 1024 + 5)
    assert [len(piece) for piece in BlockUnpacker().feed(BlockPacker().compress(data))] == [
        1024 * 1024,
        1024 * 1024,
        5,
    ]


@pytest.mark.parametrize(
    ("method", "packed"),
    [
        (NONE, b"hello"),
        (LZ4, lz4.block.compress(b"hello", store_size=False)),
        (ZSTD, zstandard.ZstdCompressor().compress(b"hello")),
    ],
)
def test_every_method_is_read(method: int, packed: bytes) -> None:
    """Clients choose."""
    assert unpack(block(method, packed, 5)) == b"hello"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (block(NONE, b"hello", 6), "says that it has 6"),
        (block(LZ4, b"\xff\xff\xff", 5), "cannot be decompressed"),
        (block(ZSTD, b"hello", 5), "cannot be decompressed"),
        (block(ZSTD, zstandard.ZstdCompressor().compress(b"x" * 100), 5), "cannot be decompressed"),
        (block(0x99, b"hello", 5), "0x99 is not known"),
        (block(NONE, b"hello", 5)[:-1], "ends within a block"),
        (b"\x00" + block(NONE, b"hello", 5)[1:], "checksum"),
        (bytes(16) + struct.pack("<BII", LZ4, 2**31, 5), "a block of 2147483648 bytes"),
        (bytes(16) + struct.pack("<BII", LZ4, 20, 2**31), "2147483648 when unpacked"),
        (bytes(16) + struct.pack("<BII", LZ4, 3, 5), "a block of 3 bytes"),
    ],
)
def test_what_is_no_block_is_told(body: bytes, why: str) -> None:
    """A length is not believed before it is looked at."""
    with pytest.raises(Refusal, match=why):
        unpack(body)
