"""Gates under test: on one machine, and on a real Redis; and a way to let time pass for each.

Redis has a clock of its own, which no test can move. What it holds can be made older instead:
moments, leases, expiry and epoch all go back by as much.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Final
from uuid import uuid4

import redis as driver

from headrace.collector.gate import Gate, LocalGate
from headrace.collector.redis import line
from headrace.collector.redis.gate import RedisGate
from headrace.eventlog.memory import MemoryLog
from headrace.runtime.clock import ManualClock, SystemClock
from tests.services.redis import RedisServer

_AGE: Final = """
local prefix, ms = ARGV[1], tonumber(ARGV[2])
for _, key in ipairs(redis.call('KEYS', prefix .. '*')) do
  local name = string.sub(key, #prefix + 1)
  local ttl = redis.call('PTTL', key)
  if ttl > 0 and ttl <= ms then
    redis.call('DEL', key)
  elseif name == 'epoch' then
    local since, run = string.match(redis.call('GET', key), '^(%d+) (.*)$')
    redis.call('SET', key, string.format('%.0f %s', since - ms, run))
  elseif name == 'collectors' then
    for _, who in ipairs(ARGV[3] == '1' and redis.call('ZRANGE', key, 0, -1) or {}) do
      redis.call('ZINCRBY', key, -ms, who)
    end
  elseif string.sub(name, 1, 4) == 'key:' then
    local value = redis.call('GET', key)
    local letter = string.sub(value, 1, 1)
    if letter == 'C' or letter == 'c' then
      local lease = string.format('%.0f', string.sub(value, 14) - ms)
      value = string.sub(value, 1, 13) .. lease
    end
    redis.call('SET', key, value, 'PX', ttl - ms)
  else
    for index = 1, redis.call('LLEN', key) - 1 do
      local moment, number = struct.unpack('>dd', redis.call('LINDEX', key, index))
      redis.call('LSET', key, index, struct.pack('>dd', moment - ms * 1000, number))
    end
    redis.call('PEXPIRE', key, ttl - ms)
  end
end
"""


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Redis gets three seconds instead of 50 ms: what else the machine does must not look like
    a server that is away."""
    usual, line.TURNS = line.TURNS, 300
    try:
        yield
    finally:
        line.TURNS = usual


def new_prefix() -> bytes:
    """Keys of one test alone."""
    return f"test-{uuid4().hex}:".encode()


def age(server: RedisServer, prefix: bytes, seconds: float, *, silence: bool = False) -> None:
    """Make everything under the prefix older; with `silence` no collector was heard meanwhile."""
    with driver.Redis.from_url(server.url) as client:
        client.eval(_AGE, 0, prefix, str(int(seconds * 1000)), str(int(silence)))


class Subject:
    """Two gates that share what they know (on one machine there is only one), and their log."""

    def __init__(
        self, gates: tuple[Gate, Gate], log: MemoryLog, advance: Callable[[float], None]
    ) -> None:
        self.gate, self.other = gates
        self.log = log
        self.advance = advance


Factory = Callable[[RedisServer | None], AbstractAsyncContextManager[Subject]]


@contextlib.asynccontextmanager
async def local(_server: RedisServer | None) -> AsyncIterator[Subject]:
    clock = ManualClock()
    log = MemoryLog(clock)
    gate = LocalGate(log.appender(), clock)
    yield Subject((gate, gate), log, clock.advance)


@contextlib.asynccontextmanager
async def shared(server: RedisServer | None) -> AsyncIterator[Subject]:
    assert server is not None
    prefix = new_prefix()
    clock = SystemClock()
    log = MemoryLog(clock)

    def advance(seconds: float) -> None:
        age(server, prefix, seconds)

    with patience():
        gates = [
            await RedisGate.open(server.url, log.appender(), clock, prefix=prefix) for _ in range(2)
        ]
        yield Subject((gates[0], gates[1]), log, advance)
        for gate in gates:
            await gate.stop()


SUBJECTS: Final[dict[str, Factory]] = {"local": local, "redis": shared}
