"""The collector on a socket, from the first connection to a graceful end.

Owns the life of the server: what is being appended when it is told to stop is answered, what was
half sent is not waited for long. What happens on a connection is `connection.py`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog

from headrace.collector.arriving import App, Bounds, Common
from headrace.collector.connection import Connection
from headrace.collector.listening import BACKLOG, CannotListen, listen
from headrace.collector.memory import return_freed_memory
from headrace.runtime.clock import Clock, SystemClock

_TICK_SECONDS: Final = 1.0
_CUT_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to serve. `stop_seconds` bounds the end as a whole."""

    host: str
    port: int
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    bounds: Bounds = Bounds()
    stop_seconds: float = 15.0


async def serve(
    app: App,
    options: ServerOptions,
    stop: asyncio.Event,
    ready: Callable[[str, int], None] | None = None,
    *,
    clock: Clock | None = None,
) -> None:
    """Serve until `stop` is set and what was being appended has been answered.

    `ready` is told host and port (the one given by the system, if `options.port` is 0) once
    connections are taken. Raises `CannotListen`.
    """
    return_freed_memory()
    common = Common(app, options.bounds)
    tls = _tls(options)
    listening = listen(options.host, options.port)
    server = await asyncio.get_running_loop().create_server(
        partial(Connection, common),
        sock=listening,
        ssl=tls,
        ssl_handshake_timeout=options.bounds.headers if tls else None,
        backlog=BACKLOG,
    )
    dating = asyncio.create_task(_keep_date(common, clock or SystemClock()))
    try:
        if ready is not None:
            ready(*listening.getsockname()[:2])
        await stop.wait()
    finally:
        server.close()
        await _end(common, options.stop_seconds)
        dating.cancel()


async def _keep_date(common: Common, clock: Clock) -> None:
    while True:
        common.date = b"date: %s\r\n" % format_datetime(clock.now(), usegmt=True).encode()
        await asyncio.sleep(_TICK_SECONDS)


async def _end(common: Common, seconds: float) -> None:
    for connection in list(common.connections):
        connection.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await common.wait_for_all()
            return
    _log.error("requests were cut off", connections=len(common.connections), seconds=seconds)
    for connection in list(common.connections):
        connection.cut()
    for answering in common.orphans:
        answering.cancel()
    if common.orphans:
        await asyncio.wait(common.orphans, timeout=_CUT_SECONDS)


def _tls(options: ServerOptions) -> ssl.SSLContext | None:
    if options.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(options.tls_certificate, options.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise CannotListen(
            f"cannot use the certificate {options.tls_certificate} with the key "
            f"{options.tls_key}: {error}; both must be readable PEM files that belong together"
        ) from error
    return context
