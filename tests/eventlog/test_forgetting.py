"""What is kept under keys is emptied where it holds what must be forgotten; the keys stay."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from headrace.eventlog.port import Batch, KeyRecord
from headrace.eventlog.sqlite.appender import SqliteAppender
from headrace.eventlog.sqlite.forgetting import Request
from headrace.runtime.clock import SystemClock
from headrace.schemas.errors import Unavailable
from tests.eventlog.sqlite_files import appending

NOTHING = Batch([])
CLOCK = SystemClock()


async def keep(appender: SqliteAppender, *values: tuple[bytes, bytes]) -> None:
    later = CLOCK.now() + timedelta(hours=1)
    await asyncio.gather(
        *(
            appender.append(NOTHING, key_record=KeyRecord(key, value, later))
            for key, value in values
        )
    )


async def value(appender: SqliteAppender, key: bytes) -> bytes | None:
    record = await appender.recall(key, CLOCK.now())
    return None if record is None else record.value


def left_of_requests(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if "forget" in path.name]


def holds(folder: Path, content: bytes) -> bool:
    return any(content in file.read_bytes() for file in folder.glob("log.sqlite*"))


async def done(request: Request) -> None:
    async with asyncio.timeout(30):
        while not request.is_done():  # noqa: ASYNC110 - what we wait for is in a thread
            await asyncio.sleep(0.01)


async def test_values_that_hold_the_bytes_are_emptied(tmp_path: Path) -> None:
    """Others stay, and so do all keys; what is kept later under the same key is kept."""
    async with appending(tmp_path) as appender:
        await keep(appender, (b"a", b"of ws_1\x00"), (b"b", b"of ws_2"), (b"c", b"ws_1"))
        request = Request(tmp_path / "log.sqlite", b"ws_1")
        assert request.count == 2
        await done(request)
        assert [await value(appender, key) for key in (b"a", b"b", b"c")] == [b"", b"of ws_2", b""]
        await keep(appender, (b"a", b"of ws_1, later"))
        assert await value(appender, b"a") == b"of ws_1, later"
    assert left_of_requests(tmp_path) == []


async def test_all_of_many_keys_are_looked_at(tmp_path: Path) -> None:
    """More than are looked at in one go, with two who ask at once."""
    keys = [b"%05d" % number for number in range(2_000)]
    async with appending(tmp_path) as appender:
        await keep(appender, *((key, b"ws_%d" % (number % 3)) for number, key in enumerate(keys)))
        requests = [Request(tmp_path / "log.sqlite", b"ws_%d" % number) for number in (0, 1)]
        for request in requests:
            await done(request)
        found = [await value(appender, key) for key in keys]
    assert [each for each in found if each] == [b"ws_2"] * 666


async def test_what_nobody_was_there_to_do_is_done_later(tmp_path: Path) -> None:
    """The request waits for the next process that writes the log."""
    async with appending(tmp_path) as appender:
        await keep(appender, (b"a", b"ws_1"))
    request = Request(tmp_path / "log.sqlite", b"ws_1")
    assert (request.count, request.is_done()) == (1, False)
    async with appending(tmp_path) as appender:
        await done(request)
        assert await value(appender, b"a") == b""


async def test_nothing_of_it_is_left_where_it_was(tmp_path: Path) -> None:
    """Not in its page, nor in the WAL; what others have is still there. (A page that was split
    before may hold a copy in its slack until that is written over.)"""
    async with appending(tmp_path) as appender:
        for number in range(18):
            whose = b"of ws_1: a secret" if number % 3 == 0 else b"of ws_2: another's"
            await keep(appender, (b"%05d" % number, whose + b"." * 200))
        assert holds(tmp_path, b"a secret")
        await done(Request(tmp_path / "log.sqlite", b"ws_1"))
        assert not holds(tmp_path, b"a secret")
        assert holds(tmp_path, b"another's")


async def test_what_cannot_be_read_keeps_the_log_from_nothing(tmp_path: Path) -> None:
    """Neither from taking records nor from what else shall be forgotten; and an empty request,
    as a loss of power may leave it, is not one for everything."""
    (tmp_path / "log.sqlite-forget-0").mkdir()
    (tmp_path / "log.sqlite-forget-1").touch()
    async with appending(tmp_path) as appender:
        for number in range(20):
            await keep(appender, (b"%05d" % number, b"of ws_%d" % (number % 2)))
        await done(Request(tmp_path / "log.sqlite", b"ws_1"))
        assert await value(appender, b"00001") == b""
        assert await value(appender, b"00002") == b"of ws_0"
        assert appender.is_writable()


def test_a_log_that_is_none(tmp_path: Path) -> None:
    """Said, and nothing is left beside it."""
    with pytest.raises(Unavailable, match=r"log\.sqlite"):
        Request(tmp_path / "log.sqlite", b"ws_1")
    assert list(tmp_path.iterdir()) == []
