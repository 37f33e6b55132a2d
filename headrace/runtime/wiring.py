"""Which adapters a node is made of: the only place that imports them.

Owns how each process's parts are built from settings and taken apart at the end. Every function
imports its own parts only: a collector does not wait for ClickHouse to be loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Final

import structlog

from headrace.runtime.clock import Clock
from headrace.runtime.credentials import StoreLogin
from headrace.runtime.home import Home
from headrace.runtime.kafka import kafka_options
from headrace.runtime.process import Ready
from headrace.runtime.reach import control_url, processor_login
from headrace.runtime.settings import Settings
from headrace.runtime.tracing import start_traces
from headrace.schemas.errors import Overloaded, Unavailable

if TYPE_CHECKING:
    from headrace.collector.redis.gate import RedisGate
    from headrace.eventlog.port import Appender, Membership
    from headrace.processor.processor import Processor
    from headrace.processor.ranges import Flush
    from headrace.runtime.spans import Traces
    from headrace.workspaces.directory import LiveDirectory

_POLL_SECONDS: Final = 0.05
_PATIENT_SECONDS: Final = 5.0
"""A store that was started together with us answers by then."""
_LOCAL_FLUSH_SECONDS: Final = 0.05
_KAFKA_FLUSH_SECONDS: Final = 0.2
"""Each partition makes blocks of its own, and each block is an insert of the store."""
_AFTER_BODY_SECONDS: Final = 30.0
"""A request that has its body is answered by then, also if the log does not answer."""
_LOOK_SECONDS: Final = 0.02
_LOOKS: Final = 500
"""Ten seconds: for so long a collector that listens waits for its log before it says ready."""
_SEEN_SECONDS: Final = 30.0
"""Whoever scrapes metrics now and then has done so by then."""

log = structlog.get_logger(__name__)


async def run_store(
    settings: Settings, home: Home, clock: Clock, stop: asyncio.Event, ready: Ready
) -> None:
    """The embedded ClickHouse server."""
    from headrace.store.server.app import serve_store
    from headrace.store.server.limits import StoreLimits

    limits = StoreLimits(
        max_queries=settings.store_max_queries,
        query_seconds=settings.store_query_seconds,
        query_bytes=settings.store_query_bytes,
    )
    async with _directory(settings, home, clock) as directory:
        await serve_store(
            home.store,
            settings.store_listen,
            directory,
            limits,
            stop,
            clock=clock,
            on_ready=lambda _port: ready(),
        )


async def run_collector(
    settings: Settings, home: Home, clock: Clock, stop: asyncio.Event, ready: Ready
) -> None:
    """The HTTP edge: the local log's one writer, or one of many that write to Kafka."""
    from headrace.collector.app import CollectorParts, build_app
    from headrace.collector.arriving import Bounds
    from headrace.collector.server import ServerOptions, serve

    options = ServerOptions(
        host=settings.listen.host,
        port=settings.listen.port,
        tls_certificate=settings.tls_certificate,
        tls_key=settings.tls_key,
        bounds=Bounds(headers=settings.header_timeout_seconds, body=settings.body_timeout_seconds),
    )
    async with contextlib.AsyncExitStack() as stack:
        # What is entered first is there until the end.
        traces = await stack.enter_async_context(_traces(settings, "collector", clock))
        directory = await stack.enter_async_context(_directory(settings, home, clock))
        log = await stack.enter_async_context(_appender(settings, home, clock, directory))
        gate = await stack.enter_async_context(_gate(settings, log, clock))
        parts = CollectorParts(
            log=log,
            gate=gate,
            directory=directory,
            clock=clock,
            requests_per_minute=settings.requests_per_minute,
            max_bytes_in_flight=settings.max_bytes_in_flight,
            cors_origins=settings.cors_origins,
            trusted_proxies=settings.trusted_proxies,
            remarks=_remarks(gate, directory),
            tracer=traces.requests if traces else None,
        )
        listening = asyncio.Event()
        saying = asyncio.create_task(_say_once_reached(listening, log, stop, ready))
        stack.push_async_callback(_ended, saying)
        await serve(
            build_app(parts), options, stop, lambda _host, _port: listening.set(), clock=clock
        )


async def _say_once_reached(
    listening: asyncio.Event, log: Appender, stop: asyncio.Event, ready: Ready
) -> None:
    """Whoever sends at once when told that the collector is ready is not to be refused because
    the log was not reached yet; but a log that is away keeps nobody waiting for the word."""
    await listening.wait()
    for _ in range(_LOOKS):
        if log.log_id or stop.is_set():
            break
        await asyncio.sleep(_LOOK_SECONDS)
    if not stop.is_set():
        ready()


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel it, and raise what went wrong in it."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def run_processor(
    settings: Settings, home: Home, clock: Clock, stop: asyncio.Event, ready: Ready
) -> None:
    """From the log into the tables."""
    from headrace.processor.breaker import Breaker
    from headrace.processor.failpoints import read_fail_point
    from headrace.processor.processor import Processor
    from headrace.schemas.taxonomy import load_taxonomy
    from headrace.store.clickhouse import ClickHouseStore

    login = processor_login(settings)
    if not await _unless(stop, _prepare_store(settings, login, clock)):
        return
    async with contextlib.AsyncExitStack() as stack:
        traces = await stack.enter_async_context(_traces(settings, "processor", clock))
        store = ClickHouseStore.connect(
            login.url,
            login.user,
            login.password,
            login.database,
            cluster=settings.clickhouse_cluster,
        )
        stack.push_async_callback(store.stop)
        processor = Processor(
            _membership(settings, home, clock),
            store,
            load_taxonomy(settings.schemas),
            clock,
            _flush(settings),
            fail_point=read_fail_point(settings.fail_point),
            breaker=Breaker(store, settings.breaker_share, settings.breaker_records),
            tracer=traces.ranges if traces else None,
            store_max_bytes=settings.store_max_bytes if settings.has_embedded_store else None,
        )
        await stack.enter_async_context(_processor_served(settings, processor, stop))
        work = asyncio.create_task(processor.run())
        ready()
        await _unless(stop, asyncio.shield(work))
        await processor.stop()
        await work


@contextlib.asynccontextmanager
async def _processor_served(
    settings: Settings, processor: Processor, stop: asyncio.Event
) -> AsyncIterator[None]:
    """Its metrics and health, if it shall serve them; for a while also after it has failed."""
    if settings.processor_listen is None:
        yield
        return
    from headrace.processor.breaker import Tripped
    from headrace.runtime.processor_server import checks_of, processor_served, remarks_of

    checks, remarks = checks_of(processor), remarks_of(processor)
    async with processor_served(settings.processor_listen, checks, remarks):
        try:
            yield
        except (Tripped, LookupError):
            log.info("ending soon; until then /readyz and /metrics tell why", seconds=_SEEN_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _SEEN_SECONDS)
            raise


@contextlib.asynccontextmanager
async def _traces(settings: Settings, process: str, clock: Clock) -> AsyncIterator[Traces | None]:
    traces = start_traces(settings.traces, process, clock)
    try:
        yield traces
    finally:
        if traces is not None:
            await traces.stop()


@contextlib.asynccontextmanager
async def _appender(
    settings: Settings, home: Home, clock: Clock, directory: LiveDirectory
) -> AsyncIterator[Appender]:
    log = _open_appender(settings, home, clock, directory)
    try:
        yield log
    finally:
        await log.stop()


def _open_appender(
    settings: Settings, home: Home, clock: Clock, directory: LiveDirectory
) -> Appender:
    if settings.has_local_log:
        from headrace.eventlog.sqlite.appender import SqliteAppender

        return SqliteAppender.open(
            home.log, positions=home.positions, clock=clock, max_bytes=settings.log_max_bytes
        )
    from headrace.eventlog.kafka.appender import KafkaAppender

    return KafkaAppender.open(kafka_options(settings, directory), clock)


def _membership(settings: Settings, home: Home, clock: Clock) -> Membership:
    if settings.has_local_log:
        from headrace.eventlog.sqlite.membership import SqliteMembership

        return SqliteMembership(home.log, home.positions, clock)
    from headrace.eventlog.kafka.membership import KafkaMembership

    return KafkaMembership(kafka_options(settings), clock)


@contextlib.asynccontextmanager
async def _gate(settings: Settings, log: Appender, clock: Clock) -> AsyncIterator[RedisGate | None]:
    if not settings.redis:
        yield None
        return
    from headrace.collector.redis.gate import RedisGate

    lease = settings.body_timeout_seconds + _AFTER_BODY_SECONDS
    gate = await RedisGate.open(settings.redis, log, clock, lease_seconds=lease)
    try:
        yield gate
    finally:
        await gate.stop()


def _flush(settings: Settings) -> Flush:
    from headrace.processor.ranges import Flush

    by_default = _KAFKA_FLUSH_SECONDS if settings.kafka else _LOCAL_FLUSH_SECONDS
    return Flush(settings.flush_rows, settings.flush_bytes, settings.flush_seconds or by_default)


def _remarks(gate: RedisGate | None, directory: LiveDirectory) -> dict[str, Callable[[], str]]:
    """What `/readyz?verbose` tells of that may be away without harm."""
    remarks = {"control_data": lambda: directory.trouble or "ok"}
    if gate is not None:
        remarks["redis"] = lambda: (
            "ok"
            if gate.is_reachable()
            else "away; each collector limits by itself, keys are marked"
        )
    return remarks


async def _prepare_store(settings: Settings, login: StoreLogin, clock: Clock) -> None:
    """Bring the store's tables and analysts' views up to date, as soon as it answers."""
    from headrace.runtime.tables import update_tables

    began = clock.monotonic()
    while True:
        try:
            await asyncio.to_thread(update_tables, settings, login)
        except (Unavailable, Overloaded) as error:
            if clock.monotonic() - began > _PATIENT_SECONDS:
                log.warning("the store's tables cannot be brought up to date", why=str(error))
                began = clock.monotonic()
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return


async def _unless(stop: asyncio.Event, work: Awaitable[None]) -> bool:
    """Wait for the work, but not past `stop`; whether it was done."""
    doing = asyncio.ensure_future(work)
    told = asyncio.create_task(stop.wait())
    await asyncio.wait({doing, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if doing.done():
        doing.result()
        return True
    doing.cancel()
    return False


@contextlib.asynccontextmanager
async def _directory(settings: Settings, home: Home, clock: Clock) -> AsyncIterator[LiveDirectory]:
    from headrace.workspaces.directory import LiveDirectory

    directory = await asyncio.to_thread(
        LiveDirectory.open, control_url(settings), clock, keep_at=home.kept_snapshot
    )
    refreshing = asyncio.create_task(directory.run())
    try:
        yield directory
    finally:
        directory.stop()
        await refreshing
        directory.close()
