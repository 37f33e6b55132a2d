"""Does something answer over HTTP there? The smallest client, for processes that watch."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final

from headrace.runtime.settings import Address

POLL_SECONDS: Final = 0.02
_ANSWER_SECONDS: Final = 2.0


async def until_answers(address: Address, path: str, *, tls: bool = False) -> None:
    """Return as soon as `GET path` is answered with 200."""
    while True:
        if await answers(address, path, tls=tls):
            return
        await asyncio.sleep(POLL_SECONDS)


async def answers(address: Address, path: str, *, tls: bool = False) -> bool:
    """Whether `GET path` is answered with 200 right now."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 - compared, not bound
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(
                host, address.port, ssl=_any_certificate() if tls else None
            )
            with contextlib.closing(writer):
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
                status = await reader.readline()
    except (OSError, TimeoutError):
        return False
    return status.split()[1:2] == [b"200"]


def _any_certificate() -> ssl.SSLContext:
    # It is our own process that we ask whether it is up; its certificate names its public host.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
