"""Collectors' gates on a Redis of the test's own, and requests through them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headrace.collector.gate import Entry
from headrace.collector.idempotency import Claimed, First, Kept
from headrace.collector.redis.gate import LEASE_SECONDS, RedisGate
from headrace.eventlog.memory import MemoryLog
from headrace.eventlog.port import Batch, NewRecord
from headrace.runtime.clock import SystemClock
from tests.contracts.gates import age
from tests.services.redis import RedisServer

DAY = 24 * 3600
PREFIX = b"headrace:"
BODY = b"b" * 32
BATCH = Batch([NewRecord(b"key", b"value")])


class Collectors:
    """Any number of gates on one server, stopped together."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.clock = SystemClock()
        self.log = MemoryLog(self.clock)
        self.gates: list[RedisGate] = []

    async def open(self, *, lease_seconds: float = LEASE_SECONDS) -> RedisGate:
        gate = await RedisGate.open(
            self.server.url, self.log.appender(), self.clock, lease_seconds=lease_seconds
        )
        self.gates.append(gate)
        return gate

    def age(self, seconds: float = DAY + 60, *, silence: bool = False) -> None:
        """By default so that keys are proved: they have been kept for over a day."""
        age(self.server, PREFIX, seconds, silence=silence)

    async def come(self, gate: RedisGate, key: bytes) -> tuple[Entry, Claimed]:
        """A request up to its claim."""
        entry = await gate.enter("ws", 1_000, key=key)
        return entry, await gate.claim(entry, BODY, self.clock.now())

    async def finish(self, gate: RedisGate, entry: Entry) -> None:
        """The rest of it."""
        try:
            await gate.append(entry, BATCH, Kept(BODY, 1, []), self.clock.now())
        finally:
            gate.leave(entry)

    async def send(self, gate: RedisGate, key: bytes) -> Claimed:
        """A whole request."""
        entry, claimed = await self.come(gate, key)
        if isinstance(claimed, First):
            await self.finish(gate, entry)
        else:
            gate.leave(entry)
        return claimed

    async def stop(self) -> None:
        for gate in self.gates:
            await gate.stop()


def is_marked(claimed: Claimed) -> bool:
    assert isinstance(claimed, First), claimed
    return claimed.marked


async def until(holds: Callable[[], bool]) -> None:
    """Wait until it does."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what we wait for is in another process
            await asyncio.sleep(0.01)


async def again(gate: RedisGate) -> None:
    """Wait until the gate has noticed a server that went, and uses it again."""
    await gate.look("ws", 1)
    await until(gate.is_reachable)
