"""A load generator: keep-alive connections that send ready-made requests as fast as answered.

Owns nothing but the sending: requests are bytes made beforehand, answers are only counted by
status, so that the generator stays far cheaper than what it measures. It talks to 127.0.0.1
only and stops by itself, by time or by count. Run as a process of its own:
`python -m benchmarks.load PORT CONNECTIONS SECONDS < request.bin` prints one JSON line.
"""

from __future__ import annotations

import asyncio
import collections
import sys
import time
from typing import Final, cast

import msgspec
import uvloop

END_OF_HEADERS: Final = b"\r\n\r\n"
LENGTH: Final = b"content-length: "


class Load(msgspec.Struct):
    """What one run measured. Latencies in seconds; `answers` counts by status."""

    seconds: float
    requests: int
    answers: dict[str, int]
    p50: float
    p99: float


class Tally:
    """Shared by all connections of a run."""

    def __init__(self, requests: list[bytes]) -> None:
        self.requests = requests
        self.ends_at = 0.0
        self.next = 0
        self.answers: collections.Counter[str] = collections.Counter()
        self.latencies: list[float] = []

    def take(self) -> bytes | None:
        """The next request, or None when time is up."""
        if time.monotonic() >= self.ends_at:
            return None
        request = self.requests[self.next % len(self.requests)]
        self.next += 1
        return request


class Connection(asyncio.Protocol):
    """One keep-alive connection: the next request leaves when the answer is whole."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's derives from nothing

    def send(self) -> None:
        request = self.tally.take()
        if request is None:
            self.transport.close()
            return
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(END_OF_HEADERS)
        if head < 0:
            return
        at = self.buffer.lower().find(LENGTH, 0, head)
        length = (
            int(self.buffer[at + len(LENGTH) : self.buffer.find(b"\r\n", at)]) if at >= 0 else 0
        )
        if len(self.buffer) < head + 4 + length:
            return
        self.tally.answers[self.buffer[9:12].decode()] += 1
        self.tally.latencies.append(time.perf_counter() - self.sent_at)
        self.buffer = self.buffer[head + 4 + length :]
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        if not self.closed.done():
            self.closed.set_result(None)


async def drive(port: int, connections: int, seconds: float, requests: list[bytes]) -> Load:
    """Send for `seconds` over `connections` to 127.0.0.1:`port`, once all of them are made."""
    loop = asyncio.get_running_loop()
    tally = Tally(requests)
    made = [
        await loop.create_connection(lambda: Connection(tally), "127.0.0.1", port)
        for _ in range(connections)
    ]
    started = time.monotonic()
    tally.ends_at = started + seconds
    for _, connection in made:
        connection.send()
    await asyncio.wait([connection.closed for _, connection in made], timeout=seconds + 30)
    spent = time.monotonic() - started
    ordered = sorted(tally.latencies) or [0.0]
    return Load(
        seconds=spent,
        requests=len(tally.latencies),
        answers=dict(tally.answers),
        p50=ordered[len(ordered) // 2],
        p99=ordered[int(len(ordered) * 0.99)],
    )


def main() -> None:
    """Read msgpack-encoded requests from standard input, send them, print a JSON line."""
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    requests = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=list[bytes])
    result = uvloop.run(drive(port, connections, seconds, requests))
    print(msgspec.json.encode(result).decode())


if __name__ == "__main__":
    main()
