"""The proxy of the scenarios does what it is told: a fault that is not there proves nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.scenarios.proxy import Proxy

PATIENCE_SECONDS = 30


class Echo:
    """A server that notes what it got and says it again."""

    def __init__(self) -> None:
        self.got = b""
        self.heard = asyncio.Event()
        self.ended: set[asyncio.Task[None] | None] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.ended.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.got += data
                self.heard.set()
                writer.write(data)
        writer.close()

    async def until_heard(self) -> bytes:
        await asyncio.wait_for(self.heard.wait(), PATIENCE_SECONDS)
        return self.got


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, Proxy]]:
    """A server behind a proxy."""
    echo = Echo()
    server = await asyncio.start_server(echo.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with Proxy(port) as proxy:
        yield echo, proxy
    server.close()
    await asyncio.gather(*(task for task in echo.ended if task))


async def said(proxy: Proxy, words: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(words)
    return reader, writer


async def is_cut(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(1), PATIENCE_SECONDS) == b""
    except ConnectionError:
        return True


async def test_it_passes_bytes_on(echo: tuple[Echo, Proxy]) -> None:
    """Both ways, until the client ends."""
    _, proxy = echo
    reader, writer = await said(proxy, b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()


async def test_what_is_held_arrives_although_the_client_has_gone(
    echo: tuple[Echo, Proxy],
) -> None:
    """As a broker may store what its client has given up."""
    server, proxy = echo
    await asyncio.to_thread(proxy.hold)
    _, writer = await said(proxy, b"late")
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.1)
    assert server.got == b""
    await asyncio.to_thread(proxy.pass_on)
    assert await server.until_heard() == b"late"


async def test_answers_are_dropped_and_their_connection_cut(echo: tuple[Echo, Proxy]) -> None:
    """The server did what it was asked; the client never hears of it."""
    server, proxy = echo
    await asyncio.to_thread(proxy.drop_answers)
    reader, writer = await said(proxy, b"done")
    assert await server.until_heard() == b"done"
    await asyncio.sleep(0.1)
    await asyncio.to_thread(proxy.pass_on)
    assert await is_cut(reader)
    writer.close()


async def test_connections_are_cut_and_refused(echo: tuple[Echo, Proxy]) -> None:
    """Old ones end at once, new ones too, until it passes on again."""
    _, proxy = echo
    reader, writer = await said(proxy, b"a")
    assert await reader.readexactly(1) == b"a"
    await asyncio.to_thread(proxy.refuse)
    assert await is_cut(reader)
    other, second = await said(proxy, b"b")
    assert await is_cut(other)
    await asyncio.to_thread(proxy.pass_on)
    again, last = await said(proxy, b"c")
    assert await again.readexactly(1) == b"c"
    for each in (writer, second, last):
        each.close()


async def test_bytes_are_delayed_and_stay_in_order(echo: tuple[Echo, Proxy]) -> None:
    """Late, both ways, and whole."""
    _, proxy = echo
    await asyncio.to_thread(proxy.delay, 0.05)
    began = asyncio.get_running_loop().time()
    reader, writer = await said(proxy, b"1")
    for digit in b"23456":
        writer.write(bytes([digit]))
        await writer.drain()
    assert await reader.readexactly(6) == b"123456"
    assert asyncio.get_running_loop().time() - began >= 0.1
    writer.close()
