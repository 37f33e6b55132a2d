"""What the processor says of itself over HTTP: `/livez`, `/readyz`, `/metrics`.

Owns which checks make it ready. They are served from its own event loop: that it answers at
all is what `/livez` says. A processor with nothing to do (more processes than partitions) is
ready; one that has waited for log or store for a quarter of a minute is not, and says for what.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Final

from headrace.collector.app import application
from headrace.collector.health import Checks, Remarks, livez, metrics, readyz
from headrace.collector.listening import CannotListen, listen
from headrace.collector.observing import excused, identified, request_ids
from headrace.collector.routing import Route, router
from headrace.collector.tallies import Tallies
from headrace.processor.processor import Processor
from headrace.runtime.setting_text import Address
from headrace.store.server.listening import serve

_STOP_SECONDS: Final = 1.0


def checks_of(processor: Processor) -> Checks:
    """What must hold for it to be ready."""
    return {"moving": processor.is_moving, "whole": processor.is_whole}


def remarks_of(processor: Processor) -> Remarks:
    """What whoever looks may want to know."""
    return {
        "partitions": processor.describe_partitions,
        "waits_for": processor.describe_wait,
    }


@contextlib.asynccontextmanager
async def processor_served(
    address: Address, checks: Checks, remarks: Remarks
) -> AsyncIterator[Address]:
    """Serve while the block runs; gives the address, with the port that the system chose for 0.

    Raises `CannotListen` if the address cannot be used.
    """
    listening = _listen(address)
    app = application(identified(request_ids())(excused(router(_routes(checks, remarks)))))
    stop, ready = asyncio.Event(), asyncio.Event()

    async def nothing_to_do() -> None:
        return

    with contextlib.closing(listening):
        serving = asyncio.create_task(
            serve(
                app,
                listening,
                stop,
                stop_seconds=_STOP_SECONDS,
                before_stop=nothing_to_do,
                on_ready=lambda _port: ready.set(),
            )
        )
        waiting = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            yield Address(address.host, listening.getsockname()[1])
        finally:
            stop.set()
            waiting.cancel()
            await serving


def _routes(checks: Checks, remarks: Remarks) -> list[Route]:
    return [
        Route("GET", "/livez", livez),
        Route("GET", "/readyz", readyz(checks, remarks)),
        Route("GET", "/metrics", metrics(Tallies(), checks)),
    ]


def _listen(address: Address) -> socket.socket:
    try:
        return listen(address.host, address.port)
    except CannotListen as error:
        raise CannotListen(
            f"the processor {error}, or another address with HEADRACE_PROCESSOR_LISTEN"
        ) from error
