"""Compressed bodies: what is understood, what is refused, and how little a bomb may unpack."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from headrace.store.server.answers import Refusal
from headrace.store.server.encodings import answer_encoding, packer, unpacker
from tests.store.asking import ask
from tests.store.server_fixture import ANALYST, PROCESSOR, StoreServer

Compress = Callable[[bytes], bytes]
MEBIBYTE = 1024 * 1024


def _raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


COMPRESS: dict[str, Compress] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "lz4": lz4.frame.compress,
    "": bytes,
}
DECOMPRESS: dict[str, Compress] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "lz4": lz4.frame.decompress,
}


def unpacked(encoding: str, pieces: list[bytes]) -> bytes:
    unpack = unpacker(encoding)
    found = b"".join(part for piece in pieces for part in unpack.feed(piece))
    unpack.finish()
    return found


@pytest.mark.parametrize("encoding", COMPRESS)
@given(data=st.binary(max_size=5_000), cut=st.integers(1, 700))
def test_whatever_the_pieces(encoding: str, data: bytes, cut: int) -> None:
    """A body comes apart anywhere and is the same."""
    body = COMPRESS[encoding](data)
    pieces = [body[start : start + cut] for start in range(0, len(body), cut)]

    assert unpacked(encoding, pieces) == data


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "lz4"])
def test_several_members_are_one_body(encoding: str) -> None:
    """Frames may follow one another."""
    body = COMPRESS[encoding](b"one ") + COMPRESS[encoding](b"two")

    assert unpacked(encoding, [body]) == b"one two"
    assert unpacked(encoding, [body[:7], body[7:]]) == b"one two"


def test_raw_deflate_is_understood() -> None:
    """Some senders leave the zlib header out."""
    assert unpacked("deflate", [_raw_deflate(b"abc" * 100)]) == b"abc" * 100


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "lz4"])
@pytest.mark.parametrize(
    "spoil", [lambda b: b[:-1], lambda b: b[: len(b) // 2], lambda b: b"no" + b]
)
def test_a_broken_body_is_refused(encoding: str, spoil: Compress) -> None:
    """Cut off, or not of this kind: never taken for a shorter one."""
    with pytest.raises(Refusal) as refused:
        unpacked(encoding, [spoil(COMPRESS[encoding](b"x" * 1_000))])
    assert refused.value.code == 271


@pytest.mark.parametrize("encoding", ["br", "snappy", "gzip, zstd", "x"])
def test_other_encodings_are_refused(encoding: str) -> None:
    """By name, with those that are spoken."""
    with pytest.raises(Refusal, match="send gzip, deflate, zstd, lz4") as refused:
        unpacker(encoding)
    assert refused.value.code == 89


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "lz4"])
def test_a_bomb_comes_in_small_pieces(encoding: str) -> None:
    """However much a body would unpack to, whoever counts can stop early."""
    bomb = COMPRESS[encoding](bytes(200 * MEBIBYTE))
    pieces = unpacker(encoding).feed(bomb)

    assert max(len(next(pieces)) for _ in range(4)) <= 16 * MEBIBYTE


def test_a_zstd_frame_may_not_choose_our_memory() -> None:
    """A window above 8 MiB is refused."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    big = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = big.compress(b"x" * 100) + big.flush()
    with pytest.raises(Refusal):
        unpacked("zstd", [body])


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("lz4,zstd,gzip,deflate", "lz4"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip", "gzip"),
        ("GZIP;q=0.5", "gzip"),
        ("deflate", "deflate"),
        ("zstd;q=0, gzip", "gzip"),
        ("br", None),
        ("identity", None),
        ("", None),
        ("*", None),
    ],
)
def test_the_answers_encoding(accepted: str, encoding: str | None) -> None:
    """The cheapest of those that the client takes."""
    assert answer_encoding(accepted) == encoding


@pytest.mark.parametrize("encoding", DECOMPRESS)
@given(pieces=st.lists(st.binary(max_size=1_000), max_size=5))
def test_packed_pieces_are_one_body(encoding: str, pieces: list[bytes]) -> None:
    """As a client unpacks it."""
    pack = packer(encoding)
    body = b"".join([pack.compress(piece) for piece in pieces]) + pack.flush()

    assert DECOMPRESS[encoding](body) == b"".join(pieces)


@pytest.mark.node
@pytest.mark.parametrize("encoding", DECOMPRESS)
@pytest.mark.parametrize("rows", [2_000, 400_000])
def test_answers_are_packed(two_workspaces: StoreServer, encoding: str, rows: int) -> None:
    """Whole ones and streams alike; not if the client says so, and short ones not at all."""
    sql = f"SELECT number FROM numbers({rows})"
    headers = {"Accept-Encoding": encoding}
    answer = ask(two_workspaces, ANALYST, sql, headers=headers)
    plain = ask(two_workspaces, ANALYST, sql, headers=headers, enable_http_compression="0")

    assert answer.headers["content-encoding"] == encoding
    assert DECOMPRESS[encoding](answer.body) == plain.body
    assert plain.body.count(b"\n") == rows
    assert (
        "content-encoding" not in ask(two_workspaces, ANALYST, "SELECT 1", headers=headers).headers
    )


@pytest.mark.node
@pytest.mark.parametrize("encoding", DECOMPRESS)
def test_queries_may_be_packed(two_workspaces: StoreServer, encoding: str) -> None:
    """Of people and of the processor."""
    for user in (ANALYST, PROCESSOR):
        body = COMPRESS[encoding](b"SELECT 41 + 1")
        answer = ask(two_workspaces, user, body, headers={"Content-Encoding": encoding})
        assert answer.body == b"42\n"


@pytest.mark.node
@pytest.mark.parametrize("encoding", DECOMPRESS)
def test_bombs_are_refused(two_workspaces: StoreServer, encoding: str) -> None:
    """A person's statement is bounded after decompression."""
    body = COMPRESS[encoding](b"SELECT '" + bytes(50 * MEBIBYTE) + b"'")
    answer = ask(two_workspaces, ANALYST, body, headers={"Content-Encoding": encoding})

    assert (answer.status, answer.code) == (413, 229)
