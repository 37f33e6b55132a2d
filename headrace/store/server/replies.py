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

from headrace.store.server.answers import OK, Refusal, Summary, query_headers
from headrace.store.server.encodings import answer_encoding, packer, worth_packing
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


async def begin_reply(about: Reply, send: Send) -> Ending:
    """Answer with what runs, all but the ending; raises `Refusal` only while nothing was sent."""
    held, summary, ended = await _hold(about)
    if ended:
        return await _whole(about, b"".join(held), summary)
    return await _send_stream(about, held, summary, send)


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
        block = await about.running.next_block()
        if block is None:
            return held, summary, True
        held.append(block.data)
        size += len(block.data)
        summary = _add(summary, block.summary)
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
    encoding = answer_encoding(about.asked.accept_encoding)
    if encoding is not None and worth_packing(len(data)):
        headers["content-encoding"] = encoding
        data = await asyncio.to_thread(_packed, encoding, data)
    return answer(OK, headers, data)


async def _send_stream(about: Reply, held: list[bytes], summary: Summary, send: Send) -> Ending:
    headers = _headers(about, summary)
    tag = secrets.token_hex(8)
    headers["x-clickhouse-exception-tag"] = tag
    encoding = answer_encoding(about.asked.accept_encoding)
    pack = packer(encoding) if encoding is not None else None
    if encoding is not None:
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
        while (block := await about.running.next_block()) is not None:
            yield block.data
    except Refusal as refusal:
        yield _exception_block(about.scrub(refusal).text, tag)


def _exception_block(text: str, tag: str) -> bytes:
    """As the server writes it after rows were sent; clients look for the tag."""
    message = text.encode() + b"\n"
    mark = tag.encode()
    length = str(len(message)).encode()
    ending = length + b" " + mark + b"\r\n__exception__\r\n"
    return b"\r\n__exception__\r\n" + mark + b"\r\n" + message + ending


def _packed(encoding: str, data: bytes) -> bytes:
    pack = packer(encoding)
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
