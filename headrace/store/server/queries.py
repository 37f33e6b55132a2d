"""One request's query, from its body to its answer, for people and for the processor.

People are held to slots, limits and the wall; the processor has threads of its own, so that
people can never keep it waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator, Set
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.types import Send

from headrace.runtime.clock import Clock
from headrace.runtime.metrics import STORE_RUNNING
from headrace.store.server import bodies
from headrace.store.server.answers import OK, Refusal, query_headers
from headrace.store.server.engine import Engine
from headrace.store.server.insert_text import is_insert
from headrace.store.server.inserts import SplitInsert, run_insert, split_insert
from headrace.store.server.killing import Kill, read_kill
from headrace.store.server.limits import StoreLimits
from headrace.store.server.overruns import TICK_SECONDS, Overruns
from headrace.store.server.people import People, Question
from headrace.store.server.protocol import Asked
from headrace.store.server.replies import Ending, Reply, answer, begin_reply
from headrace.store.server.rights import Rights
from headrace.store.server.running import Plan, Planner, Running, Threads
from headrace.store.server.scrubbing import scrub
from headrace.store.server.sessions import SessionState
from headrace.store.server.slots import Slots
from headrace.workspaces.port import Role, StoreUser

_FORMAT: Final = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)
_KILLS: Final = 50
_KILL_AGAIN_SECONDS: Final = 0.1
_PROCESSOR_SQL_BYTES: Final = 16 * 1024 * 1024
_Named = tuple[StoreUser, str]
"""The user and the query's id."""


class Exchange(msgspec.Struct, frozen=True):
    """One request being answered."""

    request: Request
    asked: Asked
    user: StoreUser
    session: SessionState
    send: Send
    has_form: bool
    """The body was a form, whose fields are in `asked`: there is no more of it."""

    def body(self, most: int) -> AsyncIterator[bytes]:
        """The body's pieces after decompression; raises `Refusal` past `most` bytes."""
        if self.has_form:
            return _nothing()
        return bodies.pieces(self.request, self.asked, most)


class Queries:
    """Runs queries on one engine. For one event loop."""

    def __init__(self, engine: Engine, limits: StoreLimits, clock: Clock) -> None:
        self._engine = engine
        self._limits = limits
        self._overruns = Overruns(engine.folder, limits, clock)
        self.has_overrun = False
        """A thread is lost to a query that nothing ends: the process has to end."""
        self._slots = Slots(
            running=limits.max_queries,
            waiting=limits.waiting_queries,
            wait_seconds=limits.query_wait_seconds,
        )
        self._planner = People(engine, limits)
        self._people = Threads(limits.max_queries, "people")
        self._processor = Threads(limits.processor_connections, "processor")
        self._of_people: dict[Running, _Named] = {}
        self._of_processor: dict[Running, _Named] = {}

    async def answer_person(self, exchange: Exchange) -> Ending:
        """Check, run within limits, answer."""
        self._overruns.admit(exchange.user)
        asked = exchange.asked
        body = b"".join([piece async for piece in exchange.body(self._limits.sql_bytes)])
        sql = _joined(asked.query, body)
        if (kill := read_kill(sql)) is not None:
            # Before it takes a slot: those may all be taken by what is to be ended.
            sql = kill.answer_sql(await self._kill(kill, exchange.user), exchange.user.name)
        question = Question(Rights.of(exchange.user), asked, exchange.session, sql)
        async with self._slots.take(exchange.user.name):
            return await self._run(
                exchange, self._people, lambda handle: self._planner.plan(question, handle)
            )

    async def answer_processor(self, exchange: Exchange) -> Ending:
        """Run whatever it is."""
        asked = exchange.asked
        body = exchange.body(self._limits.insert_bytes)
        first = asked.query.encode() or await anext(body, b"")
        if is_insert(first):
            rest = body if asked.query else _chained(first, body)
            split = await split_insert(asked.query, rest)
            if isinstance(split, SplitInsert):
                return await self._insert(exchange, split)
            sql = split
        else:
            sql = _joined(asked.query, b"" if asked.query else first, await _rest(body))
        if not sql.strip():
            raise Refusal(62, "SYNTAX_ERROR", "Syntax error: Empty query")
        plan = Plan(
            sql=sql,
            parameters=asked.parameters,
            settings=asked.settings,
            database=asked.database or exchange.user.database,
            output_format=_written_format(sql) or asked.default_format,
            streamed=False,
            or_default=asked.database is None,
        )
        return await self._run(exchange, self._processor, lambda _: plan)

    async def _kill(self, kill: Kill, user: StoreUser) -> int:
        """End the user's queries of this id; how many there were."""
        wanted = (user.name, kill.query_id)
        found = {
            running
            for running, (whose, query_id) in self._of_people.items()
            if (whose.name, query_id) == wanted
        }
        await self._end(found)
        return len(found)

    async def watch(self, stop: asyncio.Event) -> None:
        """Until a query of a person turns out to be one that nothing ends; then set `stop`."""
        while (lost := self._overruns.look(self._of_people)) is None:  # noqa: ASYNC110 - a clock
            await asyncio.sleep(TICK_SECONDS)
        self.has_overrun = True
        lost.give_up(self._overruns.note(*self._of_people[lost]))
        stop.set()

    async def end_people(self) -> None:
        """End people's queries, whose clients then get an error; inserts go on."""
        self._slots.close()
        await self._end(set(self._of_people))

    async def stop(self) -> None:
        """End everything that still runs."""
        await self._end(self._of_people.keys() | self._of_processor.keys())
        self._people.stop()
        self._processor.stop()

    async def _end(self, all_running: Set[Running]) -> None:
        for _ in range(_KILLS):
            if not all_running & (self._of_people.keys() | self._of_processor.keys()):
                return
            for running in list(all_running):
                await asyncio.to_thread(running.kill)
            await asyncio.sleep(_KILL_AGAIN_SECONDS)

    async def _run(self, exchange: Exchange, threads: Threads, planner: Planner) -> Ending:
        running = Running(self._engine, threads, planner)
        about = Reply(
            asked=exchange.asked,
            running=running,
            timezone=self._engine.timezone,
            held_bytes=self._limits.whole_result_bytes,
            hides_reads=exchange.user.role is Role.ANALYST,
            scrub=self._scrubber(exchange.user),
        )
        with self._counted(exchange, running):
            try:
                return await running.watched(
                    _start_and_send(about, exchange.send), bodies.hung_up(exchange.request)
                )
            except Refusal as refusal:
                raise about.scrub(refusal) from None

    def _scrubber(self, user: StoreUser) -> Callable[[Refusal], Refusal]:
        if user.role is Role.PROCESSOR:
            return lambda refusal: refusal
        return lambda refusal: scrub(refusal, Rights.of(user), self._engine.folder)

    @contextlib.contextmanager
    def _counted(self, exchange: Exchange, running: Running) -> Iterator[None]:
        user = exchange.user
        among = self._of_processor if user.role is Role.PROCESSOR else self._of_people
        among[running] = (user, exchange.asked.query_id)
        try:
            with STORE_RUNNING.labels(role=user.role).track_inprogress():
                yield
        finally:
            del among[running]

    async def _insert(self, exchange: Exchange, split: SplitInsert) -> Ending:
        asked = exchange.asked
        summary = await run_insert(
            self._engine,
            self._processor,
            split,
            settings=dict(asked.settings),
            database=asked.database or exchange.user.database,
        )
        headers = query_headers(
            query_id=asked.query_id,
            output_format=asked.default_format,
            timezone=self._engine.timezone,
            summary=summary,
        )
        return answer(OK, headers, b"")


async def _start_and_send(about: Reply, send: Send) -> Ending:
    try:
        await about.running.start()
        return await begin_reply(about, send)
    finally:
        await about.running.close()


def _written_format(sql: str) -> str | None:
    found = _FORMAT.search(sql)
    return found[1] if found else None


def _joined(query: str, *bodies_: bytes) -> str:
    try:
        text = b"".join(bodies_).decode()
    except UnicodeDecodeError as error:
        raise Refusal(62, "SYNTAX_ERROR", f"The query is not UTF-8: {error}") from error
    return f"{query}\n{text}" if query and text else query or text


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _rest(body: AsyncIterator[bytes]) -> bytes:
    text = bytearray()
    async for piece in body:
        text += piece
        if len(text) > _PROCESSOR_SQL_BYTES:
            raise Refusal(229, "QUERY_IS_TOO_LARGE", "The statement is too large")
    return bytes(text)
