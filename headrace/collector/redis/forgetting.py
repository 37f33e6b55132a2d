"""Emptying the answers that Redis keeps under keys, of whom nothing may be kept any longer.

An operator's command does it, beside the collectors: all keys are looked at, some at a time.
"""

from __future__ import annotations

import asyncio
from typing import Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from headrace.collector.redis.address import read_redis_url
from headrace.collector.redis.gate import PREFIX
from headrace.collector.redis.line import Reply, ask
from headrace.collector.redis.scripts import FORGET
from headrace.schemas.errors import Unavailable

_AT_ONCE: Final = 500
_ANSWER_SECONDS: Final = 10.0


async def forget_answers(url: str, content: bytes, *, prefix: bytes = PREFIX) -> int:
    """Empty those that hold `content`; a retry then goes on, marked. Returns how many there were.

    Raises `Unavailable`, after which it may be run again, and `HeadraceError` for a URL that
    cannot be read.
    """
    address = read_redis_url(url)
    connection = address.connection()
    emptied, cursor = 0, b"0"
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await connection.connect()  # type: ignore[no-untyped-call]  # the driver leaves it so
        while True:
            cursor, keys = await _ask(
                connection, b"SCAN", cursor, b"MATCH", prefix + b"key:*", b"COUNT", b"%d" % _AT_ONCE
            )
            if keys:
                emptied += await _ask(
                    connection, b"EVAL", FORGET.source, b"%d" % len(keys), *keys, content
                )
            if cursor == b"0":
                return emptied
    except (RedisError, OSError, TimeoutError) as error:
        why = str(error) or f"no answer within {_ANSWER_SECONDS:g} s"
        raise Unavailable(f"Redis at {address} cannot be asked to forget: {why}") from error
    finally:
        await connection.disconnect(nowait=True)


async def _ask(connection: AbstractConnection, *words: bytes) -> Reply:
    async with asyncio.timeout(_ANSWER_SECONDS):
        return await ask(connection, *words)
