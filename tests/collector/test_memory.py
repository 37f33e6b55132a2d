"""Memory: under 200 MiB whatever is sent, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import zstandard

from tests.collector.trial import BATCH, GOOD

MAX_MEMORY_KIB = 200 * 1024
REFUSED = {408, 503}
"""No room for it, or, on a busy machine, it took too long to arrive."""
TOP = json.dumps({"events": [{**GOOD, "properties": {"a": "x" * 10_000}}] * 1000}).encode()
DEEP = b'{"events":[' + b'[{"a":' * 300_000 + b"]}"
MANY = b'{"events":[' + b"1," * 5_000_000 + b"1]}"
SMALL = (
    b'{"events":['
    + b",".join([b'{"event":"a","user_id":"b","timestamp":"2024-01-01T00:00:00Z"}'] * 150_000)
    + b"]}"
)
KEYS = b'{"events":[{' + b'"a":1,' * 1_700_000 + b'"b":1}]}'


@contextlib.contextmanager
def collector(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    program = [sys.executable, "-m", "tests.collector.alone", str(folder)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port, key = process.stdout.readline().split()
        yield process, int(port), key
    finally:
        process.terminate()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def storm(
    client: httpx2.AsyncClient, body: bytes, count: int, **headers: str
) -> Counter[int]:
    """The same body from many clients at once; counts the answers by status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sends = (client.post(BATCH, content=body, headers=named) for _ in range(count))
    return Counter(answer.status_code for answer in await asyncio.gather(*sends))


async def half_send(port: int, key: str, count: int) -> list[asyncio.StreamWriter]:
    """Clients that send the beginning of a large body, and nothing more."""
    head = (
        f"POST {BATCH} HTTP/1.1\r\nAuthorization: Bearer {key}\r\nContent-Length: 9000000\r\n\r\n"
    )
    writers = []
    for _ in range(count):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + b"x" * 200_000)
        writers.append(writer)
    await asyncio.sleep(0.5)
    return writers


def demand(wanted: int, answers: Counter[int]) -> None:
    """What is not refused for want of room or time is answered so, and that is one at least."""
    assert set(answers) <= {wanted, *REFUSED}, answers
    assert answers[wanted] > 0, answers


async def send_all(port: int, key: str) -> None:
    limits = httpx2.Limits(max_connections=20)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers=headers, limits=limits, timeout=120
    ) as client:
        demand(200, await storm(client, TOP, 20))
        packed = gzip.compress(TOP, 1)
        demand(200, await storm(client, packed, 10, content_encoding="gzip"))
        bomb = bytes(200 << 20)
        for encoding, packed in (("gzip", gzip.compress(bomb)), ("zstd", zstandard.compress(bomb))):
            demand(413, await storm(client, packed, 5, content_encoding=encoding))
        for body in (DEEP, MANY, SMALL):
            demand(400, await storm(client, body, 4))
        demand(200, await storm(client, KEYS, 4))
        writers = await half_send(port, key, 200)
        assert set(await storm(client, TOP, 4)) <= {200, *REFUSED}
        for writer in writers:
            writer.close()
        for _ in range(100):
            if (await storm(client, TOP, 1))[200]:
                break
            await asyncio.sleep(0.2)
        else:
            raise AssertionError("the room that was taken did not come back")


def test_whatever_is_sent_memory_stays_under_200_mib(tmp_path: Path) -> None:
    """Large bodies by the dozen, bombs, deep and endless ones, and many that never end; then
    the collector takes a large batch as if nothing had been."""
    with collector(tmp_path) as (process, port, key):
        asyncio.run(send_all(port, key))
        # Not getrusage: its figure begins with what the parent had when it forked.
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        assert found is not None
        assert int(found[1]) < MAX_MEMORY_KIB
    assert process.returncode == 0, "SIGTERM is answered by an orderly end"
