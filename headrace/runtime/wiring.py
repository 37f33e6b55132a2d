"""Which adapters a node is made of: the only place that imports them.

Owns how each process's parts are built from settings and taken apart at the end. Every function
imports its own parts only: a collector does not wait for ClickHouse to be loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Final

import structlog

from headrace.runtime.clock import Clock
from headrace.runtime.credentials import StoreLogin, read_processor_login
from headrace.runtime.home import Home
from headrace.runtime.process import Ready
from headrace.runtime.setting_text import Address
from headrace.runtime.settings import Settings
from headrace.schemas.errors import HeadraceError, Overloaded, Unavailable

if TYPE_CHECKING:
    from headrace.workspaces.directory import LiveDirectory

_POLL_SECONDS: Final = 0.05
_PATIENT_SECONDS: Final = 5.0
"""A store that was started together with us answers by then."""

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
    async with _directory(home, clock) as directory:
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
    """The HTTP edge, with the local log's one writer."""
    from headrace.collector.app import CollectorParts, build_app
    from headrace.collector.server import ServerOptions, serve
    from headrace.eventlog.sqlite.appender import SqliteAppender

    log = SqliteAppender.open(
        home.log, positions=home.positions, clock=clock, max_bytes=settings.log_max_bytes
    )
    async with _directory(home, clock) as directory:
        parts = CollectorParts(
            log=log,
            directory=directory,
            clock=clock,
            requests_per_minute=settings.requests_per_minute,
            max_bytes_in_flight=settings.max_bytes_in_flight,
            cors_origins=settings.cors_origins,
            trusted_proxies=settings.trusted_proxies,
        )
        options = ServerOptions(
            host=settings.listen.host,
            port=settings.listen.port,
            tls_certificate=settings.tls_certificate,
            tls_key=settings.tls_key,
            header_timeout_seconds=settings.header_timeout_seconds,
            body_timeout_seconds=settings.body_timeout_seconds,
        )
        await serve(build_app(parts), options, stop, lambda _host, _port: ready())
    await log.stop()


async def run_processor(
    settings: Settings, home: Home, clock: Clock, stop: asyncio.Event, ready: Ready
) -> None:
    """From the log into the tables."""
    from headrace.eventlog.sqlite.membership import SqliteMembership
    from headrace.processor.processor import Processor
    from headrace.processor.ranges import Flush
    from headrace.schemas.taxonomy import load_taxonomy
    from headrace.store.clickhouse import ClickHouseStore

    login = read_processor_login(home)
    if not await _unless(stop, _prepare_store(login, home, clock)):
        return
    store = ClickHouseStore.connect(login.url, login.user, login.password, login.database)
    membership = SqliteMembership(home.log, home.positions, clock)
    flush = Flush(settings.flush_rows, settings.flush_bytes, settings.flush_seconds)
    processor = Processor(membership, store, load_taxonomy(settings.schemas), clock, flush)
    if settings.processor_listen is not None:
        _serve_metrics(settings.processor_listen)
    work = asyncio.create_task(processor.run())
    ready()
    await _unless(stop, asyncio.shield(work))
    await processor.stop()
    await work
    await store.stop()


async def _prepare_store(login: StoreLogin, home: Home, clock: Clock) -> None:
    """Bring the store's tables and analysts' views up to date, as soon as it answers."""
    began = clock.monotonic()
    while True:
        try:
            await asyncio.to_thread(_update_store, login, home)
        except (Unavailable, Overloaded) as error:
            if clock.monotonic() - began > _PATIENT_SECONDS:
                log.warning("the store's tables cannot be brought up to date", why=str(error))
                began = clock.monotonic()
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return


def _update_store(login: StoreLogin, home: Home) -> None:
    from headrace.runtime.analyst_databases import ensure_analyst_databases
    from headrace.store.migrate import migrate
    from headrace.workspaces.database import ControlData

    migrate(login.url, login.user, login.password, login.database)
    with contextlib.closing(ControlData.open(home.control_url)) as control:
        ensure_analyst_databases(login, control.list_store_users())


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


def _serve_metrics(address: Address) -> None:
    from prometheus_client import start_http_server

    try:
        start_http_server(address.port, address.host)
    except OSError as error:
        raise HeadraceError(
            f"the processor cannot listen on {address} ({error.strerror}); choose another address "
            "with HEADRACE_PROCESSOR_LISTEN"
        ) from error


@contextlib.asynccontextmanager
async def _directory(home: Home, clock: Clock) -> AsyncIterator[LiveDirectory]:
    from headrace.workspaces.database import ControlData
    from headrace.workspaces.directory import LiveDirectory

    control = ControlData.open(home.control_url, clock)
    directory = LiveDirectory(control, clock)
    refreshing = asyncio.create_task(directory.run())
    try:
        yield directory
    finally:
        directory.stop()
        await refreshing
        control.close()
