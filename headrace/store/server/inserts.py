"""The processor's inserts: data goes to the engine's memory as it arrives, in large pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from headrace.store.server.answers import Summary
from headrace.store.server.engine import Engine, Handle
from headrace.store.server.engine import Insert as EngineInsert
from headrace.store.server.insert_text import Insert, find_insert
from headrace.store.server.running import Threads

_MOST_STATEMENT_BYTES: Final = 256 * 1024
_WRITTEN_AT_ONCE: Final = 1024 * 1024
"""A turn of a thread for each 64 KiB that arrive took half a microsecond an event."""


class SplitInsert:
    """An insert whose statement was found: its data is `first` and then what `rest` gives."""

    def __init__(self, insert: Insert, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self.insert = insert
        self.first = first
        self.rest = rest


async def split_insert(query: str, body: AsyncIterator[bytes]) -> SplitInsert | str:
    """Find the statement in `query` followed by `body`; a whole statement if it takes no data."""
    text = query.encode()
    if text:
        text += b"\n"
    while True:
        piece = await anext(body, None)
        found = find_insert(text + (piece or b""))
        text += piece or b""
        if found is not None and (len(text) > found.data_start or piece is None):
            return SplitInsert(found, text[found.data_start :], body)
        if piece is None:
            return text.decode("utf-8", "replace")
        if len(text) > _MOST_STATEMENT_BYTES and found is None:
            rest = [later async for later in body]
            return (text + b"".join(rest)).decode("utf-8", "replace")


async def run_insert(
    engine: Engine, threads: Threads, split: SplitInsert, *, settings: dict[str, str], database: str
) -> Summary:
    """Feed it all and finish; on any error nothing of the last block is stored."""
    opened = engine.connect()
    handle: Handle = await threads.call(opened.__enter__)
    try:
        await threads.call(lambda: handle.use(database, or_default=True))
        await threads.call(handle.apply, settings)
        insert = await threads.call(handle.insert, split.insert.statement, split.insert.data_format)
        return await _feed(threads, insert, split)
    finally:
        await threads.call(opened.__exit__, None, None, None)


async def _feed(threads: Threads, insert: EngineInsert, split: SplitInsert) -> Summary:
    try:
        gathered = [split.first]
        size = len(split.first)
        async for piece in split.rest:
            gathered.append(piece)
            size += len(piece)
            if size >= _WRITTEN_AT_ONCE:
                await threads.call(insert.append, b"".join(gathered))
                gathered, size = [], 0
        await threads.call(insert.append, b"".join(gathered))
        return await threads.call(insert.done)
    except BaseException:
        await threads.call(insert.cancel)
        raise
