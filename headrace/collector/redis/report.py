"""What `headrace check` says of a Redis: what it is, and what is wrong with it.

Owns what is demanded of the server. A key that is evicted is a retry that is not noticed, so
`noeviction` it must be: full, it refuses, and collectors then go on alone and mark.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from headrace.collector.redis.address import read_redis_url
from headrace.collector.redis.line import ROUND_TRIP_SECONDS, ask

_SECONDS: Final = 5.0
_OLDEST: Final = (6, 2)
_PINGS: Final = 5


class RedisReport(msgspec.Struct, frozen=True):
    """What was found. `problems` stop a collector from sharing limits and keys; `remarks` are
    worth knowing. `version` names the program; it is empty if there was no answer."""

    is_reachable: bool
    version: str = ""
    role: str = ""
    policy: str = ""
    persistence: str = ""
    latency_seconds: float = 0.0
    problems: Sequence[str] = ()
    remarks: Sequence[str] = ()


async def inspect_redis(url: str) -> RedisReport:
    """Look at a server, within five seconds. Raises `HeadraceError` for a URL that is none."""
    address = read_redis_url(url)
    connection = address.connection()
    try:
        async with asyncio.timeout(_SECONDS):
            await connection.connect()  # type: ignore[no-untyped-call]  # the driver leaves it so
            facts = _facts(await ask(connection, b"INFO"))
            return _report(facts, await _latency(connection))
    except (RedisError, OSError, TimeoutError) as error:
        why = str(error) or f"no answer within {_SECONDS:.0f} s"
        return RedisReport(
            is_reachable=False, problems=[f"Redis at {address} cannot be used: {why}"]
        )
    finally:
        await connection.disconnect(nowait=True)


def _report(facts: Mapping[str, str], latency_seconds: float) -> RedisReport:
    name = "Valkey" if "valkey_version" in facts else "Redis"
    version = facts.get("valkey_version") or facts.get("redis_version", "")
    appends = facts.get("aof_enabled") == "1"
    return RedisReport(
        is_reachable=True,
        version=f"{name} {version}",
        role=facts.get("role", ""),
        policy=facts.get("maxmemory_policy", ""),
        persistence="append-only file" if appends else "snapshots at most",
        latency_seconds=latency_seconds,
        problems=list(_problems(facts, latency_seconds)),
        remarks=list(_remarks(facts, appends=appends)),
    )


def _problems(facts: Mapping[str, str], latency_seconds: float) -> Iterator[str]:
    policy = facts.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        yield (
            f"maxmemory-policy is {policy}: a key that is evicted is a retry that is not noticed. "
            "Set it to noeviction"
        )
    if facts.get("role", "master") != "master":
        yield (
            f"it is a replica of {facts.get('master_host')}:{facts.get('master_port')}, which "
            "takes no writes. Give the address of the primary"
        )
    if facts.get("cluster_enabled") == "1":
        yield "it is a Redis Cluster, which is not supported. Give a single primary with replicas"
    if facts.get("loading") == "1":
        yield "it is still loading its file. Wait until it is done"
    found = tuple(int(part) for part in re.findall(r"\d+", facts.get("redis_version", ""))[:2])
    if found and found < _OLDEST:
        yield f"its version is {facts['redis_version']}; 6.2 or later is needed"
    if latency_seconds >= ROUND_TRIP_SECONDS:
        yield (
            f"it answers in {latency_seconds * 1000:.0f} ms, and collectors wait "
            f"{ROUND_TRIP_SECONDS * 1000:.0f} ms at most. Put it nearer to them"
        )


def _remarks(facts: Mapping[str, str], *, appends: bool) -> Iterator[str]:
    if not appends:
        yield (
            "it keeps no append-only file: a restart forgets the answers of keys (repeated "
            "requests still add nothing). Set appendonly yes to keep them"
        )
    if facts.get("maxmemory") == "0":
        yield "maxmemory is not set: it takes what it needs, some 250 bytes a key for 24 hours"
    if facts.get("connected_slaves", "0") != "0":
        yield f"{facts['connected_slaves']} replicas follow it"


async def _latency(connection: AbstractConnection) -> float:
    """The best of a few pings."""
    seconds = []
    for _ in range(_PINGS):
        began = time.monotonic()
        await ask(connection, b"PING")
        seconds.append(time.monotonic() - began)
    return min(seconds)


def _facts(info: bytes) -> dict[str, str]:
    """`INFO` as names and values."""
    pairs = (line.split(":", 1) for line in info.decode(errors="replace").splitlines())
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
