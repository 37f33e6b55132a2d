"""A TCP proxy between a client and a server, which holds, drops, delays, cuts and refuses.

Owns one port and what becomes of the bytes that pass it. It runs in a thread of its own; every
method may be called from anywhere and has taken effect when it returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, Final, Self

from tests.services.ports import free_port

_CHUNK: Final = 65536


class _Connection:
    """The two sockets of one client, and whether the client lost bytes."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.lost_bytes = False

    def cut(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


class Proxy:
    """Passes bytes on from `port` to `target_port` on this machine, as told."""

    def __init__(self, target_port: int = 0) -> None:
        self.port = free_port()
        self.target_port = target_port
        self.passed_requests = 0
        """Bytes that clients sent and the server was given."""
        self.held_requests = 0
        """Bytes that clients sent and the server was not given yet."""
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refuses = False
        self._drops_answers = False
        self._delay_seconds = 0.0
        self._loop: asyncio.AbstractEventLoop
        self._open: asyncio.Event
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=self._live, name="proxy", daemon=True)
        self._listening = threading.Event()

    # what it can be told

    def hold(self) -> None:
        """Take requests and keep them; the server is given them at `pass_on`, even if the client
        has gone by then."""
        self._do(self._open.clear)

    def drop_answers(self) -> None:
        """Give the server its requests and throw its answers away."""
        self._do(lambda: setattr(self, "_drops_answers", True))

    def delay(self, seconds: float) -> None:
        """Let every byte wait this long, in both directions."""
        self._do(lambda: setattr(self, "_delay_seconds", seconds))

    def refuse(self) -> None:
        """Cut every connection, and new ones as soon as they are made."""
        self._do(lambda: setattr(self, "_refuses", True))
        self.cut()

    def cut(self) -> None:
        """Cut every connection now."""
        self._do(self._cut_all)

    def pass_on(self) -> None:
        """Pass everything on again. Connections that lost answers are cut: nothing would fit."""

        def passing() -> None:
            self._refuses = self._drops_answers = False
            self._delay_seconds = 0.0
            self._open.set()
            for connection in self._connections:
                if connection.lost_bytes:
                    connection.cut()

        self._do(passing)

    # life

    def start(self) -> Self:
        self._thread.start()
        assert self._listening.wait(10), "the proxy does not listen"
        return self

    def stop(self) -> None:
        if self._thread.is_alive():
            self._do(self._stop.set)
            self._thread.join(10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _do(self, action: Callable[[], Any]) -> None:
        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._loop).result(10)

    def _live(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._open, self._stop = asyncio.Event(), asyncio.Event()
        self._open.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self._listening.set()
        await self._stop.wait()
        server.close()
        self._open.set()
        self._cut_all()
        await asyncio.gather(*self._tasks)

    def _cut_all(self) -> None:
        for connection in self._connections:
            connection.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, server)
        self._connections.add(connection)
        try:
            await asyncio.gather(
                self._pump(reader, lambda data: self._request(connection, data)),
                self._pump(answers, lambda data: self._answer(connection, data)),
            )
        finally:
            self._connections.discard(connection)
            connection.cut()

    async def _pump(self, reader: asyncio.StreamReader, give: Callable[[bytes], Any]) -> None:
        """Read as fast as bytes come, so that none is lost with the socket they came by."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def take() -> None:
            data = b"-"
            while data:
                data = b""
                with contextlib.suppress(OSError):
                    data = await reader.read(_CHUNK)
                queue.put_nowait((self._loop.time() + self._delay_seconds, data))

        taking = asyncio.create_task(take())
        while True:
            due, data = await queue.get()
            await asyncio.sleep(due - self._loop.time())
            with contextlib.suppress(OSError):
                await give(data)
            if not data:
                await taking
                return

    async def _request(self, connection: _Connection, data: bytes) -> None:
        self.held_requests += len(data)
        await self._open.wait()
        self.held_requests -= len(data)
        self.passed_requests += len(data)
        if data:
            connection.server.write(data)
            await connection.server.drain()
        else:
            connection.server.write_eof()

    async def _answer(self, connection: _Connection, data: bytes) -> None:
        if data and self._drops_answers:
            connection.lost_bytes = True
        elif data:
            connection.client.write(data)
            await connection.client.drain()
        else:
            connection.client.close()
