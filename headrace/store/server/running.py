"""A statement on its way through the engine, driven from the event loop, block by block.

Owns the threads the engine's blocking calls run in, and the killing of a statement whose client
hung up or whose server stops.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import msgspec

from headrace.store.server.engine import Engine, Handle, Result

T = TypeVar("T")
_NUMBERS: Final = itertools.count()
_KILL_AGAIN_SECONDS: Final = 0.1


class Plan(msgspec.Struct, frozen=True):
    """What to run and how; `sql` None: nothing, the answer is empty.

    `streamed`: the result's blocks can be sent one by one. `or_default`: without the database
    it runs in `default` (there is none before the migrations).
    """

    sql: str | None
    parameters: Mapping[str, str]
    settings: Mapping[str, str]
    database: str
    output_format: str
    streamed: bool
    or_default: bool = False

    @classmethod
    def nothing(cls, output_format: str) -> Plan:
        return cls(None, {}, {}, "", output_format, streamed=False)


Planner = Callable[[Handle], Plan]
"""Makes the plan, on the connection it will run on, in the thread it will run in."""


class HungUp(Exception):
    """The client is gone; its statement has ended."""


class Threads:
    """Threads for blocking calls of one kind of user."""

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def call(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class Running:
    """One statement: `start`, then `next_block` until None, then `close`, always."""

    def __init__(self, engine: Engine, threads: Threads, planner: Planner) -> None:
        self._engine = engine
        self._threads = threads
        self._planner = planner
        self._tag = f"headrace-{next(_NUMBERS)}"
        self._killed = threading.Event()
        self._overran: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._seconds_in_call: float | None = None
        self._blocks = self._run()
        self.plan = Plan.nothing("")

    async def start(self) -> None:
        """Connect and plan; raises `Refusal`."""
        await self.next_block()

    async def next_block(self) -> Result | None:
        """Raises `Refusal`, also when nothing ends the statement (`give_up`)."""
        self._seconds_in_call = 0.0
        call = asyncio.ensure_future(self._threads.call(next, self._blocks, None))
        ends: set[asyncio.Future[Any]] = {call, self._overran}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return call.result() if call.done() else self._overran.result()
        finally:
            self._seconds_in_call = None

    async def close(self) -> None:
        if self._overran.done():
            return  # its thread works on
        await self._threads.call(self._blocks.close)

    def tick(self, seconds: float) -> float:
        """So much time has passed; for how long the engine has been at it without a word."""
        if self._seconds_in_call is None:
            return 0.0
        self._seconds_in_call += seconds
        return self._seconds_in_call

    def give_up(self, why: Exception) -> None:
        """Nothing ends it: whoever waits gets the error, and the thread is left to itself."""
        if not self._overran.done():
            self._overran.set_exception(why)
            self._overran.exception()  # nobody may be waiting

    def kill(self) -> None:
        """Order its end; to be repeated, for it may not have begun yet."""
        self._killed.set()
        self._engine.kill(self._tag)

    async def watched(self, work: Coroutine[Any, Any, T], gone: Coroutine[Any, Any, None]) -> T:
        """Do the work; when `gone` returns first, end the statement and raise `HungUp`."""
        working = asyncio.ensure_future(work)
        watching = asyncio.ensure_future(gone)
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await self._kill_until_done(working)
                raise HungUp
            return working.result()
        finally:
            watching.cancel()
            if not working.done():
                await self._kill_until_done(working)

    async def _kill_until_done(self, working: asyncio.Future[T]) -> None:
        while not working.done():
            await asyncio.to_thread(self.kill)
            await asyncio.wait({working}, timeout=_KILL_AGAIN_SECONDS)
        working.exception()

    def _run(self) -> Generator[Result | None, None, None]:
        with self._engine.connect() as handle:
            plan = self.plan = self._planner(handle)
            yield None
            if plan.sql is None or self._killed.is_set():
                return
            handle.use(plan.database, or_default=plan.or_default)
            handle.apply({"log_comment": self._tag, **plan.settings})
            if not plan.streamed:
                yield handle.query(plan.sql, plan.output_format, plan.parameters)
                return
            for block in handle.stream(plan.sql, plan.output_format, plan.parameters):
                if self._killed.is_set():
                    return
                yield block
