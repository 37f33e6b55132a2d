"""A running statement's blocks as an HTTP answer.

Up to a mebibyte (or the whole of what `wait_end_of_query` may hold) is kept back, so that most
errors become a status and the summary counts everything. A longer result is sent as it comes; if
it then fails, the answer ends in the exception block that `X-ClickHouse-Exception-Tag` announces.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from starlette.types import Message, Send

from headrace.store.server.answers import (
    OK,
    Refusal,
    Summary,
    query_headers,
    refusal_headers,
)
from headrace.store.server.compressed_blocks import BlockPacker
from headrace.store.server.encodings import Packer, answer_encoding, packer, worth_packing
from headrace.store.server.native import FRAMED_FROM, Framer
from headrace.store.server.protocol import Asked
from headrace.store.server.running import Running

Ending = list[Message]
"""The last messages of an answer. They are sent when session, slot and connection are free
again: a client that has the whole answer may send its next query at once."""

_HELD_BYTES: Final = 1024 * 1024


class Reply(msgspec.Struct):
    """How to answer one request: what it asked for and what runs for it."""

    asked: Asked
    running: Running
    timezone: str
    held_bytes: int
    hides_reads: bool
    scrub: Callable[[Refusal], Refusal]
    framer: Framer | None = None

    async def next_block(self) -> tuple[bytes, Summary] | None:
        """Of the result, as the client wants it; None at the end."""
        block = await self.running.next_block()
        if block is None:
            return None
        if self.asked.native_protocol < FRAMED_FROM or not self._is_native():
            return block.data, block.summary
        if self.framer is None:
            self.framer = Framer()
        return await asyncio.to_thread(self.framer.feed, block.data), block.summary

    def _is_native(self) -> bool:
        return self.running.plan.output_format.lower() == "native"


async def begin_reply(about: Reply, send: Send) -> Ending:
    """Answer with what runs, all but the ending; raises `Refusal` only while nothing was sent."""
    held, summary, ended = await _hold(about)
    if ended:
        return await _whole(about, b"".join(held), summary)
    return await _send_stream(about, held, summary, send)


def refused(refusal: Refusal, asked: Asked | None = None) -> Ending:
    """An exception as the whole answer."""
    headers = refusal_headers(refusal, query_id=asked.query_id if asked else "")
    body = refusal.text.encode("utf-8", "replace") + b"\n"
    if asked is not None and asked.takes_blocks:
        body = BlockPacker().compress(body)
    return answer(refusal.status, headers, body)


def answer(status: int, headers: dict[str, str], body: bytes) -> Ending:
    """A whole answer."""
    headers = {**headers, "content-length": str(len(body))}
    return [_start(status, headers), {"type": "http.response.body", "body": body}]


async def _hold(about: Reply) -> tuple[list[bytes], Summary, bool]:
    most = about.held_bytes if about.asked.wait_for_end else _HELD_BYTES
    held: list[bytes] = []
    summary = Summary()
    size = 0
    while size <= most:
        block = await about.next_block()
        if block is None:
            return held, summary, True
        data, so_far = block
        held.append(data)
        size += len(data)
        summary = _add(summary, so_far)
        if not about.running.plan.streamed:
            return held, summary, True
    return held, summary, False


def _add(before: Summary, block: Summary) -> Summary:
    return Summary(
        read_rows=max(before.read_rows, block.read_rows),
        read_bytes=max(before.read_bytes, block.read_bytes),
        written_rows=block.written_rows,
        written_bytes=block.written_bytes,
        result_rows=before.result_rows + block.result_rows,
        result_bytes=before.result_bytes + block.result_bytes,
        elapsed_seconds=block.elapsed_seconds,
    )


async def _whole(about: Reply, data: bytes, summary: Summary) -> Ending:
    headers = _headers(about, summary)
    encoding, pack = _packing(about.asked)
    if pack is not None and (not encoding or worth_packing(len(data))):
        if encoding:
            headers["content-encoding"] = encoding
        data = await asyncio.to_thread(_packed, pack, data)
    return answer(OK, headers, data)


def _packing(asked: Asked) -> tuple[str, Packer | None]:
    """The answer's `Content-Encoding`, and what packs it; ClickHouse's blocks need no header."""
    if asked.takes_blocks:
        return "", BlockPacker()
    encoding = answer_encoding(asked.accept_encoding)
    return (encoding, packer(encoding)) if encoding is not None else ("", None)


async def _send_stream(about: Reply, held: list[bytes], summary: Summary, send: Send) -> Ending:
    headers = _headers(about, summary)
    tag = secrets.token_hex(8)
    headers["x-clickhouse-exception-tag"] = tag
    encoding, pack = _packing(about.asked)
    if encoding:
        headers["content-encoding"] = encoding
    await send(_start(OK, headers))
    async for data in _blocks(about, held, tag):
        packed = await asyncio.to_thread(pack.compress, data) if pack is not None else data
        await send({"type": "http.response.body", "body": packed, "more_body": True})
    return [{"type": "http.response.body", "body": pack.flush() if pack is not None else b""}]


async def _blocks(about: Reply, held: list[bytes], tag: str) -> AsyncIterator[bytes]:
    while held:
        yield held.pop(0)
    try:
        while (block := await about.next_block()) is not None:
            yield block[0]
    except Refusal as refusal:
        yield _exception_block(about.scrub(refusal).text, tag)


def _exception_block(text: str, tag: str) -> bytes:
    """As the server writes it after rows were sent; clients look for the tag."""
    message = text.encode() + b"\n"
    mark = tag.encode()
    length = str(len(message)).encode()
    ending = length + b" " + mark + b"\r\n__exception__\r\n"
    return b"\r\n__exception__\r\n" + mark + b"\r\n" + message + ending


def _packed(pack: Packer, data: bytes) -> bytes:
    return pack.compress(data) + pack.flush()


def _headers(about: Reply, summary: Summary) -> dict[str, str]:
    if about.hides_reads:
        summary = msgspec.structs.replace(
            summary, read_rows=summary.result_rows, read_bytes=summary.result_bytes
        )
    return query_headers(
        query_id=about.asked.query_id,
        output_format=about.running.plan.output_format,
        timezone=about.timezone,
        summary=summary,
    )


def _start(status: int, headers: dict[str, str]) -> Message:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": raw}
