"""One connection to Redis: many ask at once, nobody waits longer than 50 ms.

Owns time limits and coming back. Calls of the same moment go out together and their answers are
read together: 14 µs of CPU a call at 16 at once, where the driver's pool takes 43.

One call without an answer in time breaks the line: everybody who waits is told so (`None`), and
until the server has greeted us again, within the same limit, nobody waits at all. So a frozen
server costs each request at most 50 ms once, and holds one connection and one task.

The limit is counted in turns of our own event loop, 5 of 10 ms: a collector that was busy itself
for 60 ms finds the answer in its socket, and must not take the server for dead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError, ResponseError

from headrace.collector.redis.scripts import Script
from headrace.runtime.metrics import REDIS_FALLBACKS, REDIS_SECONDS, REDIS_UP

ROUND_TRIP_SECONDS: Final = 0.05
TURNS = 5
_TURN_SECONDS: Final = ROUND_TRIP_SECONDS / TURNS
CONNECT_SECONDS: Final = 1.0
_FIRST_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 1.0
_STEADY_SECONDS: Final = 5.0
_MOST_UNTOLD: Final = 1_000

Reply = Any
Talk = Callable[[Sequence[bytes]], Awaitable[list[Reply]]]
Greet = Callable[[Talk], Awaitable[None]]
"""Says on a new connection what must be said first; raises if the server cannot be used."""

log = structlog.get_logger(__name__)


class Unusable(RedisError):
    """The server answers, but not what we can work with."""


class _Call:
    """A script to run. `answer` is given the reply; `lasting` ones are said again, if need be."""

    __slots__ = ("answer", "lasting", "packed", "since")

    def __init__(self, packed: bytes, answer: asyncio.Future[Reply], *, lasting: bool) -> None:
        self.packed = packed
        self.answer = answer
        self.lasting = lasting
        self.since = 0


class Line:
    """A connection that is made anew whenever it breaks, until `stop`."""

    def __init__(self, make: Callable[[], AbstractConnection], greet: Greet) -> None:
        self.is_up = False
        self._make = make
        self._greet = greet
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Call] = []
        self._current: Sequence[_Call] = ()
        self._untold: deque[_Call] = deque(maxlen=_MOST_UNTOLD)
        self._wanted = asyncio.Event()
        self._tried = asyncio.Event()
        self._turn = 0
        self._broken: Unusable | None = None
        self._busy_since: int | None = None
        self._limit: asyncio.Timeout | None = None
        self._ticking = False
        self._task = asyncio.create_task(self._run())

    async def first_try(self) -> None:
        """Wait until the server has greeted us for the first time, or has not."""
        await self._tried.wait()

    async def ask(self, script: Script, keys: Sequence[bytes], words: Sequence[bytes]) -> Reply:
        """Run a script; None without an answer in time: it may have run or not."""
        if not self.is_up:
            REDIS_FALLBACKS.labels("down").inc()
            return None
        return await self._queue(script, keys, words, lasting=False).answer

    def tell(
        self, script: Script, keys: Sequence[bytes], words: Sequence[bytes]
    ) -> asyncio.Future[Reply]:
        """Run a script that nobody needs to wait for. If the server is away, it is told when it
        comes back, in order, the last 1,000 of them; the future is then None at once."""
        call = self._queue(script, keys, words, lasting=True)
        if not self.is_up:
            self._fail([call])
        return call.answer

    def drop(self, why: str) -> None:
        """Break the line, and begin anew."""
        if self.is_up:
            self._broken = Unusable(why)
            self._down(self._broken)
            self._wanted.set()

    async def stop(self) -> None:
        """Hang up at once; whoever waits is told so, and nothing is sent any more."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._let_go()

    def _queue(
        self, script: Script, keys: Sequence[bytes], words: Sequence[bytes], *, lasting: bool
    ) -> _Call:
        packed = pack(b"EVALSHA", script.sha, b"%d" % len(keys), *keys, *words)
        call = _Call(packed, self._loop.create_future(), lasting=lasting)
        if self.is_up:
            call.since = self._turn
            self._waiting.append(call)
            self._wanted.set()
            self._tick_on()
        return call

    async def _run(self) -> None:
        pause = 0.0
        while True:
            began = self._loop.time()
            try:
                await self._live()
            except (RedisError, OSError, TimeoutError) as error:
                self._down(error)
            except Exception as error:  # whatever it is, nobody may wait for ever
                log.exception("the connection to Redis broke in a way that is not known")
                self._down(error)
            steady = self._loop.time() - began > _STEADY_SECONDS
            pause = (
                0.0 if steady else min(_LONGEST_PAUSE_SECONDS, pause * 2 or _FIRST_PAUSE_SECONDS)
            )
            await asyncio.sleep(pause)

    async def _live(self) -> None:
        """One connection, from the first word to the last."""
        connection = self._make()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]  # the driver leaves it so
            await self._greet(lambda commands: self._talk(connection, self._turn, commands))
            self._up()
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                if self._broken is not None:
                    raise self._broken
                self._current, self._waiting = self._waiting, []
                if self._current:
                    since = self._current[0].since
                    await self._serve(partial(self._talk, connection, since), self._current)
                self._current = ()
        finally:
            await connection.disconnect(nowait=True)

    async def _serve(self, talk: Talk, calls: Sequence[_Call]) -> None:
        replies = await talk([call.packed for call in calls])
        unknown = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:  # `SCRIPT FLUSH`; or a proxy put another server in this one's place.
            await self._greet(talk)
            again = await talk([calls[n].packed for n in unknown])
            for n, reply in zip(unknown, again, strict=True):
                replies[n] = reply
        refused = sum(isinstance(reply, ResponseError) for reply in replies)
        if refused:
            REDIS_FALLBACKS.labels("refused").inc(refused)
        if refused == len(replies):
            await self._greet(talk)  # It raises, if the server has no room or takes no writes.
        for call, reply in zip(calls, replies, strict=True):
            if not call.answer.done():
                call.answer.set_result(None if isinstance(reply, ResponseError) else reply)

    async def _talk(
        self, connection: AbstractConnection, since: int, commands: Sequence[bytes]
    ) -> list[Reply]:
        """Say some commands and read their answers; errors of single ones are answers."""
        began = self._loop.time()
        async with asyncio.timeout(None) as limit:
            self._busy_since, self._limit = since, limit
            self._tick_on()
            try:
                await connection.send_packed_command(commands, check_health=False)
                replies = [await _read(connection) for _ in commands]
            finally:
                self._busy_since = self._limit = None
        REDIS_SECONDS.observe(self._loop.time() - began)
        return replies

    def _up(self) -> None:
        self.is_up, self._broken = True, None
        self._tried.set()
        REDIS_UP.set(1)
        log.info("Redis keeps limits and keys")
        untold, self._untold = self._untold, deque(maxlen=_MOST_UNTOLD)
        for call in untold:
            call.since = self._turn
            self._waiting.append(call)
            self._wanted.set()

    def _down(self, error: Exception) -> None:
        if self.is_up or not self._tried.is_set():
            log.warning(
                "Redis is not used: limits are counted here, and requests with a key are marked",
                why=str(error) or f"no answer within {ROUND_TRIP_SECONDS * 1000:.0f} ms",
            )
        self._let_go()

    def _let_go(self) -> None:
        """Nobody waits for this connection any more."""
        REDIS_UP.set(0)
        self.is_up = False
        self._tried.set()
        failed, self._current, self._waiting = [*self._current, *self._waiting], (), []
        REDIS_FALLBACKS.labels("broken").inc(sum(not call.lasting for call in failed))
        self._fail(failed)

    def _fail(self, calls: Sequence[_Call]) -> None:
        for call in calls:
            if not call.answer.done():
                call.answer.set_result(None)
            if call.lasting:
                self._untold.append(call)

    def _tick_on(self) -> None:
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(_TURN_SECONDS, self._tick)

    def _tick(self) -> None:
        """A turn has passed; who has waited for five breaks the line."""
        self._turn += 1
        self._ticking = False
        if self._busy_since is None:
            return
        if self._turn - self._busy_since >= TURNS and self._limit is not None:
            self._limit.reschedule(self._loop.time())
        self._tick_on()


async def _read(connection: AbstractConnection) -> Reply:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as error:
        return error


async def ask(connection: AbstractConnection, *words: bytes) -> Reply:
    """One command on a connection that nobody else uses: no line, and no time limit."""
    await connection.send_packed_command(pack(*words), check_health=False)
    return await connection.read_response(disable_decoding=True)


def pack(*words: bytes) -> bytes:
    """A command in Redis' protocol; the driver's own way takes three times as long."""
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n%b" % (len(words), b"".join(parts))
