"""Bodies: what they may weigh, alone and together, and how they may be packed."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from headrace.collector.answers import Refusal
from headrace.collector.bodies import Budget
from headrace.collector.compression import TooMuch, decompress
from headrace.schemas.records import MAX_BODY_BYTES
from tests.collector.trial import GOOD, ONE, Trial, problem

GOOD_BYTES = json.dumps(GOOD).encode()


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def streamed_zstd(data: bytes) -> bytes:
    packer = zstandard.ZstdCompressor(level=3).compressobj()
    return packer.compress(data) + packer.flush()


def summed_zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def unfinished_zstd(data: bytes) -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(data) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def wide_zstd(data: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return packer.compress(data) + packer.flush()


def skippable(data: bytes) -> bytes:
    return (0x184D2A53).to_bytes(4, "little") + len(data).to_bytes(4, "little") + data


PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "gzip in capitals": ("GZIP", gzip.compress),
    "gzip in two members": ("gzip", lambda d: gzip.compress(d[:20]) + gzip.compress(d[20:])),
    "gzip with padding": ("gzip", lambda d: gzip.compress(d) + bytes(100)),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstandard.compress),
    "zstd of unknown size": ("zstd", streamed_zstd),
    "zstd in two frames": ("zstd", lambda d: zstandard.compress(d[:9]) + streamed_zstd(d[9:])),
    "identity": ("identity", bytes),
    "gzip and identity": ("identity, gzip", gzip.compress),
}


@pytest.mark.parametrize("case", PACKED)
async def test_packed_bodies_are_taken(trial: Trial, case: str) -> None:
    """In every encoding that the documentation names, and its variants in the wild."""
    header, pack = PACKED[case]
    answer = await trial.send(pack(GOOD_BYTES), ONE, content_encoding=header)
    assert answer.status_code == 200, answer.text


BROKEN = {
    "gzip that is plain": ("gzip", GOOD_BYTES),
    "gzip that is zstd": ("gzip", zstandard.compress(GOOD_BYTES)),
    "gzip cut short": ("gzip", gzip.compress(GOOD_BYTES)[:-6]),
    "gzip of nothing": ("gzip", b""),
    "gzip with a wrong sum": ("gzip", gzip.compress(GOOD_BYTES)[:-8] + bytes(8)),
    "gzip and then more": ("gzip", gzip.compress(GOOD_BYTES) + b"more"),
    "gzip of 2,000 members": ("gzip", gzip.compress(b" ") * 2_000),
    "deflate cut short": ("deflate", zlib.compress(GOOD_BYTES)[:-3]),
    "deflate and then more": ("deflate", zlib.compress(GOOD_BYTES) + b"x"),
    "deflate that is plain": ("deflate", GOOD_BYTES),
    "zstd that is plain": ("zstd", GOOD_BYTES),
    "zstd that is gzip": ("zstd", gzip.compress(GOOD_BYTES)),
    "zstd of nothing": ("zstd", b""),
    "zstd and then more": ("zstd", zstandard.compress(GOOD_BYTES) + b"more"),
    "zstd of a block only": ("zstd", unfinished_zstd(GOOD_BYTES)),
    "zstd of 200,000 blocks": ("zstd", unfinished_zstd(b"") + bytes(600_000)),
    "zstd of a large window": ("zstd", wide_zstd(GOOD_BYTES)),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_a_wrong_encoding_is_said(trial: Trial, case: str) -> None:
    """400 that names the header, not a complaint about JSON."""
    header, body = BROKEN[case]
    answer = await trial.send(body, ONE, content_encoding=header)
    assert (answer.status_code, problem(answer)) == (400, "invalid_content_encoding")
    assert "Content-Encoding" in answer.json()["message"]


@pytest.mark.parametrize("pack", [zstandard.compress, streamed_zstd, summed_zstd])
def test_zstd_cut_short_is_refused(pack: Callable[[bytes], bytes]) -> None:
    """Wherever, though its reader takes what there is for all; the sum behind it counts, too."""
    whole = pack(GOOD_BYTES) + skippable(b"anything") + pack(GOOD_BYTES * 3)
    assert decompress("zstd", whole, MAX_BODY_BYTES) == GOOD_BYTES * 4
    ends = {len(pack(GOOD_BYTES)), len(pack(GOOD_BYTES)) + 16}
    for cut in set(range(len(whole))) - ends:
        with pytest.raises(Refusal):
            decompress("zstd", whole[:cut], MAX_BODY_BYTES)


async def test_a_window_that_is_refused_is_told(trial: Trial) -> None:
    """With what to do."""
    answer = await trial.send(wide_zstd(GOOD_BYTES), ONE, content_encoding="zstd")
    message = answer.json()["message"]
    assert "134,217,728 bytes" in message
    assert "use level 19 or less" in message


@pytest.mark.parametrize("header", ["br", "gzip, gzip", "compress", "nonsense", "gzip;q=1"])
async def test_other_encodings_are_415_with_the_list(trial: Trial, header: str) -> None:
    """The answer says which would be taken, in a header too."""
    answer = await trial.send(GOOD_BYTES, ONE, content_encoding=header)
    assert (answer.status_code, problem(answer)) == (415, "unsupported_media_type")
    assert answer.headers["accept-encoding"] == "gzip, deflate, zstd"


@pytest.mark.parametrize("case", ["gzip", "deflate", "zstd", "zstd of unknown size"])
async def test_bombs_are_413(trial: Trial, case: str) -> None:
    """The ceiling holds while decompressing, whatever size a frame declares."""
    header, pack = PACKED[case]
    bomb = pack(b'{"a":"' + bytes(64 * 1024 * 1024))
    answer = await trial.send(bomb, ONE, content_encoding=header)
    assert (answer.status_code, problem(answer)) == (413, "body_too_large")
    assert "10 MiB" in answer.json()["message"]


def test_a_window_larger_than_8_mib_is_refused() -> None:
    """It would be memory the sender decides about."""
    with pytest.raises(Refusal):
        decompress("zstd", wide_zstd(b"x" * 1000), MAX_BODY_BYTES)


@given(st.binary(max_size=3_000), st.integers(1, 4), st.integers(0, 4_000))
def test_decompression_gives_all_or_too_much(part: bytes, times: int, bound: int) -> None:
    """At the bound exactly it fits; a byte less and it does not."""
    data = part * times
    for encoding, pack in (
        ("gzip", gzip.compress),
        ("deflate", raw_deflate),
        ("zstd", streamed_zstd),
    ):
        try:
            assert decompress(encoding, pack(data), bound) == data
        except TooMuch:
            assert len(data) > bound
        else:
            assert len(data) <= bound


async def test_10_mib_are_taken_and_a_byte_more_is_not(trial: Trial) -> None:
    """Plain and packed alike; the declared length is enough to refuse it."""
    event = GOOD_BYTES[:-1] + b',"x":"%s"}'
    filler = MAX_BODY_BYTES - len(event % b"")
    fits, too_long = event % (b"x" * filler), event % (b"x" * (filler + 1))
    assert len(fits) == MAX_BODY_BYTES
    assert (await trial.send(fits, ONE)).status_code == 200
    assert (await trial.send(gzip.compress(fits, 1), ONE, content_encoding="gzip")).is_success
    assert (await trial.send(too_long, ONE)).status_code == 413
    packed = gzip.compress(too_long, 1)
    assert (await trial.send(packed, ONE, content_encoding="gzip")).status_code == 413


async def test_a_body_of_unknown_length_is_cut_off() -> None:
    """Chunks without end are not collected without end."""
    trial = Trial()
    taken = 0

    async def chunks() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 100_000

    async with trial.client() as client:
        answer = await client.post(ONE, content=_limited(chunks(), 200))
    assert answer.status_code == 413


async def _limited(chunks: Any, count: int) -> Any:
    async for chunk in chunks:
        yield chunk
        count -= 1
        if count == 0:
            return


async def test_all_bodies_together_are_bounded() -> None:
    """Who finds no room waits a moment, then is told to come back; then there is room again."""
    budget = Budget(100, wait_seconds=0.05)
    with budget.hold() as first, budget.hold() as second:
        await first.grow(80)
        with pytest.raises(Refusal) as refused:
            await second.grow(30)
        assert refused.value.problem.error == "overloaded"
        assert refused.value.headers == b"retry-after: 1\r\n"
        await second.grow(20)
        assert budget.used == 100
    assert budget.used == 0


async def test_room_goes_to_who_waited_longest() -> None:
    """First come, first served, as room comes back."""
    budget = Budget(100, wait_seconds=5)
    order: list[str] = []

    async def hold(name: str, count: int) -> None:
        with budget.hold() as held:
            await held.grow(count)
            order.append(name)
            await asyncio.sleep(0)

    with budget.hold() as first:
        await first.grow(100)
        waiting = [asyncio.create_task(hold(name, 60)) for name in "abc"]
        await asyncio.sleep(0)
        assert order == []
    await asyncio.gather(*waiting)
    assert order == ["a", "b", "c"]
    assert budget.used == 0


async def test_requests_held_up_half_way_do_not_block_one_another_for_ever() -> None:
    """The one that began first always goes on, and so gives its room back."""
    budget = Budget(100, wait_seconds=5)
    with budget.hold() as second_to_end:
        await second_to_end.grow(1)

        async def grow_to(count: int) -> None:
            with budget.hold() as held:
                for _ in range(count // 10):
                    await held.grow(10)
                    await asyncio.sleep(0)

        growing = [asyncio.create_task(grow_to(90)) for _ in range(4)]
        await asyncio.sleep(0.01)
    await asyncio.gather(*growing)
    assert budget.used == 0


async def test_what_a_request_held_is_given_back(trial: Trial) -> None:
    """Whatever became of it."""
    trial = Trial(max_bytes_in_flight=1_000)
    for body in (GOOD_BYTES, b"x" * 900, gzip.compress(GOOD_BYTES), b"{}"):
        for _ in range(3):
            assert (await trial.send(body, ONE)).status_code in (200, 400)
