"""The collector on a real socket: slow, rude and broken clients, and a graceful end."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import socket
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from headrace.collector import connection
from headrace.collector.arriving import Bounds
from headrace.collector.listening import CannotListen
from headrace.collector.server import ServerOptions, serve
from tests.collector.test_idempotency import Gate
from tests.collector.trial import BATCH, GOOD, ONE, Trial, served

BODY = json.dumps(GOOD).encode()
PATIENCE = 20.0


class Client:
    """A client that says exactly what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def hear(self) -> tuple[int, dict[str, str], Any]:
        """The next answer: status, headers, JSON."""
        async with asyncio.timeout(PATIENCE):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip().split("\r\n")
            headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return int(first.split()[1]), headers, json.loads(body) if body else None

    async def hear_the_end(self) -> bool:
        """Whether the server closes without another byte."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self._reader.read(1) == b""
            except ConnectionError:
                return True

    def hang_up(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Be gone, with no end that is waited for: a plain `abort` says goodbye first."""
        found = self._writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


@contextlib.asynccontextmanager
async def calling(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def head(trial: Trial, path: str = ONE, **headers: Any) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: collector", f"Authorization: Bearer {trial.key}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def request(trial: Trial, body: bytes = BODY, **headers: Any) -> bytes:
    return head(trial, Content_Length=len(body), **headers) + body


async def test_a_connection_serves_many_requests(trial: Trial) -> None:
    """One after the other, each with its own id."""
    async with served(trial.app) as port, calling(port) as client:
        ids = set()
        for _ in range(3):
            await client.say(request(trial))
            status, headers, _ = await client.hear()
            assert status == 200
            ids.add(headers["x-request-id"])
    assert len(ids) == len(trial.log.records()) == 3


async def test_pipelined_requests_are_answered_in_order(trial: Trial) -> None:
    """Sent in one go, whatever each of them gets."""
    requests = [
        request(trial),
        request(trial, b"{}"),
        b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        request(trial),
    ]
    async with served(trial.app) as port, calling(port) as client:
        await client.say(b"".join(requests))
        assert [(await client.hear())[0] for _ in requests] == [200, 400, 200, 200]
    assert len(trial.log.records()) == 2


async def test_bytes_may_come_one_by_one(trial: Trial) -> None:
    """As long as they come in time."""
    async with served(trial.app) as port, calling(port) as client:
        for byte in request(trial):
            await client.say(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.hear())[0] == 200


async def test_slow_headers_are_408(trial: Trial) -> None:
    """A client that sends a byte now and then does not keep a connection for ever."""
    async with served(trial.app, bounds=Bounds(headers=0.2)) as port, calling(port) as client:
        await client.say(request(trial)[:30])
        status, headers, body = await client.hear()
        assert (status, body["error"]) == (408, "request_timeout")
        assert headers["retry-after"] == "1"
        assert headers["connection"] == "close"
        assert await client.hear_the_end()


async def test_a_connection_without_a_request_is_closed(trial: Trial) -> None:
    """Nothing was asked, so nothing is answered; line breaks alone are nothing."""
    async with served(trial.app, bounds=Bounds(headers=0.2)) as port, calling(port) as client:
        assert await client.hear_the_end()
    async with served(trial.app, bounds=Bounds(headers=0.2)) as port, calling(port) as client:
        await client.say(request(trial))
        await client.hear()
        await client.say(b"\r\n")
        assert await client.hear_the_end()


async def test_idle_connections_are_closed(trial: Trial) -> None:
    """After the answer, when no other request comes."""
    async with served(trial.app, bounds=Bounds(keep_alive=0.2)) as port, calling(port) as client:
        await client.say(request(trial))
        assert (await client.hear())[0] == 200
        assert await client.hear_the_end()


async def test_a_slow_body_is_408(trial: Trial) -> None:
    """With the headers that every answer after the key has; nothing of it is stored."""
    async with served(trial.app, bounds=Bounds(body=0.2)) as port, calling(port) as client:
        await client.say(head(trial, Content_Length=len(BODY), X_Request_Id="slow-1"))
        for byte in BODY[:10]:
            await client.say(bytes([byte]))
        status, headers, body = await client.hear()
        assert (status, body["error"]) == (408, "request_timeout")
        assert headers["retry-after"] == "1"
        assert headers["x-request-id"] == "slow-1"
        assert "ratelimit" in headers
        assert await client.hear_the_end()
    assert trial.log.records() == []


LONG = b"x" * (1024 * 1024)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nX-Long: " + LONG + b"\r\n\r\n",
        b"GET /" + LONG + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + LONG,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200_000,
        b"GET / HTTP/1.1\r\n" + b"A: %s\r\n" % (b"b" * 100) * 700 + b"\r\n",
    ],
    ids=["a header", "a request line", "a name", "many headers", "just over 64 KiB"],
)
async def test_long_headers_are_431(trial: Trial, data: bytes) -> None:
    """The answer can be read although the client was still sending."""
    async with served(trial.app) as port, calling(port) as client:
        sending = asyncio.create_task(client.say(data))
        status, _, body = await client.hear()
        assert (status, body["error"]) == (431, "headers_too_large")
        client.hang_up()
        await sending


async def test_endless_trailers_are_431(trial: Trial) -> None:
    """What follows a chunked body counts as headers too, and does not become any."""
    async with served(trial.app) as port, calling(port) as client:
        await client.say(head(trial, Transfer_Encoding="chunked") + b"0\r\n" + b"A: b\r\n" * 50_000)
        assert (await client.hear())[0] == 431
    assert trial.log.records() == []


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["words", "TLS", "a version", "HTTP/2"],
)
async def test_what_is_not_http_is_400(trial: Trial, data: bytes) -> None:
    """In JSON like every refusal, and without a word in the log."""
    async with served(trial.app) as port, calling(port) as client:
        await client.say(data)
        status, _, body = await client.hear()
        assert (status, body["error"]) == (400, "invalid_http")
        assert await client.hear_the_end()


async def test_nonsense_after_a_request_does_not_cost_its_answer(trial: Trial) -> None:
    """What was asked properly is answered first."""
    async with served(trial.app) as port, calling(port) as client:
        await client.say(request(trial) + b"nonsense\r\n\r\n")
        assert (await client.hear())[0] == 200
        assert await client.hear_the_end()
    assert len(trial.log.records()) == 1


async def test_a_client_that_hangs_up_half_way_leaves_nothing(
    trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is stored of half a body, and nobody is woken by a traceback."""
    caplog.set_level(logging.WARNING)
    async with served(trial.app) as port:
        for end in (Client.hang_up, Client.reset):
            async with calling(port) as client:
                await client.say(head(trial, BATCH, Content_Length=1000) + b'{"events":[')
                await asyncio.sleep(0.05)
                end(client)
        async with calling(port) as client:
            await client.say(request(trial))
            assert (await client.hear())[0] == 200
    assert len(trial.log.records()) == 1
    assert caplog.text == ""


async def test_chunked_bodies_are_taken(trial: Trial) -> None:
    """With extensions and trailers, packed or not."""
    body = gzip.compress(BODY)
    async with served(trial.app) as port, calling(port) as client:
        await client.say(head(trial, Transfer_Encoding="chunked", Content_Encoding="gzip"))
        for at in range(0, len(body), 10):
            part = body[at : at + 10]
            await client.say(b"%x;x=y\r\n%s\r\n" % (len(part), part))
        await client.say(b"0\r\nAuthorization: Bearer other\r\n\r\n")
        assert (await client.hear())[0] == 200


async def test_expect_100_continue(trial: Trial) -> None:
    """The go-ahead comes once the key and the limit are checked; without them the refusal."""
    async with served(trial.app) as port:
        async with calling(port) as client:
            await client.say(head(trial, Content_Length=len(BODY), Expect="100-continue"))
            assert (await client.hear())[0] == 100
            await client.say(BODY)
            assert (await client.hear())[0] == 200
        trial.key = "hrk_wrong"
        async with calling(port) as client:
            await client.say(head(trial, Content_Length=len(BODY), Expect="100-continue"))
            assert (await client.hear())[0] == 401


async def test_an_offer_of_http_2_is_passed_over(trial: Trial) -> None:
    """Java's client makes it with its first request, body and all; and others behind it."""
    upgrade: dict[str, Any] = {
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": "h2c",
        "HTTP2_Settings": "AAMA",
    }
    async with served(trial.app) as port, calling(port) as client:
        for _ in range(2):
            await client.say(request(trial, **upgrade))
            assert (await client.hear())[0] == 200
        await client.say(request(trial, **upgrade) * 100)
        for _ in range(100):
            assert (await client.hear())[0] == 200
    assert len(trial.log.records()) == 102


async def test_connect_is_refused_and_the_connection_closed(
    trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever takes the collector for a proxy hears so; it is no fault of ours to log."""
    async with served(trial.app) as port, calling(port) as client:
        await client.say(b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere\r\n\r\n\x16\x03")
        status, headers, body = await client.hear()
        assert (status, body["error"], headers["allow"]) == (405, "method_not_allowed", "GET, POST")
    assert not caplog.records


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
async def test_a_refusal_can_be_read_while_the_body_is_still_sent(
    trial: Trial, connection: str
) -> None:
    """413 by the declared length; a client that sends everything first still gets to see it."""
    async with served(trial.app) as port, calling(port) as client:
        size = 20 * 1024 * 1024
        await client.say(head(trial, Content_Length=size, Connection=connection))
        sending = asyncio.create_task(client.say(b"x" * size))
        status, _, body = await client.hear()
        assert (status, body["error"]) == (413, "body_too_large")
        await sending
        if connection == "keep-alive":
            await client.say(request(trial))
            assert (await client.hear())[0] == 200


async def test_head_has_no_body(trial: Trial) -> None:
    """But the next answer on the connection has."""
    async with served(trial.app) as port, calling(port) as client:
        await client.say(
            b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        async with asyncio.timeout(PATIENCE):
            first = await client._reader.readuntil(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 200 OK\r\n")
        assert (await client.hear())[2] == {"status": "ok"}


async def test_stopping_does_not_wait_for_half_a_body(trial: Trial) -> None:
    """Its sender is told; headers half sent and idle connections are just closed."""
    stop = asyncio.Event()
    begun = time.monotonic()
    async with served(trial.app, stop, bounds=Bounds(half_sent=0.1), stop_seconds=60) as port:
        await _stop_half_way(trial, port, stop)
    assert time.monotonic() - begun < 30
    assert len(trial.log.records()) == 1


async def _stop_half_way(trial: Trial, port: int, stop: asyncio.Event) -> None:
    async with calling(port) as half, calling(port) as barely, calling(port) as idle:
        await half.say(head(trial, Content_Length=1000) + b"{")
        await barely.say(b"POST /v1/ev")
        await idle.say(request(trial))
        await idle.hear()
        stop.set()
        status, headers, body = await half.hear()
        assert (status, body["error"]) == (503, "stopping")
        assert "retry-after" in headers
        assert await barely.hear_the_end()
        assert await idle.hear_the_end()


async def test_what_is_being_appended_is_answered_before_the_end() -> None:
    """Stopping waits for the log: the client learns that its events are stored."""
    inner = Trial()
    gate = Gate(inner)
    trial = Trial(log=gate)
    stop = asyncio.Event()
    async with served(trial.app, stop) as port, calling(port) as client:
        await client.say(request(trial))
        await gate.reached.wait()
        stop.set()
        await asyncio.sleep(0.5)
        gate.open.set()
        status, headers, _ = await client.hear()
        assert (status, headers["connection"]) == (200, "close")
    assert len(inner.log.records()) == 1


async def test_an_address_in_use_is_a_sentence(trial: Trial) -> None:
    """It names the address and says what to do."""
    async with served(trial.app) as port:
        options = ServerOptions(host="127.0.0.1", port=port)
        with pytest.raises(CannotListen, match=f"127.0.0.1 port {port}: another program"):
            await serve(trial.app, options, asyncio.Event())
    for host in ("192.0.2.1", "no such host"):
        with pytest.raises(CannotListen, match="choose an address of this machine"):
            await serve(trial.app, ServerOptions(host=host, port=0), asyncio.Event())


async def test_too_many_connections_are_told_so(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 at once; those that are there go on."""
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 1)
    async with served(trial.app) as port, calling(port) as first:
        await first.say(request(trial))
        assert (await first.hear())[0] == 200
        async with calling(port) as second:
            status, headers, body = await second.hear()
            assert (status, body["error"], headers["retry-after"]) == (503, "overloaded", "1")
        await first.say(request(trial))
        assert (await first.hear())[0] == 200


async def test_bodies_nobody_takes_do_not_pile_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While refusals are held back their bodies wait in buffers: those are bounded, too."""
    monkeypatch.setattr(connection, "MAX_UNTAKEN_BYTES", 100_000)
    trial = Trial()
    async with served(trial.app) as port:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for _ in range(12):
                await client.post(ONE)
        key, trial.key = trial.key, "hrk_wrong"
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(calling(port)) for _ in range(8)]
            for one in clients:
                await one.say(head(trial, Content_Length=1_000_000) + b"x" * 60_000)
            statuses = [(await one.hear())[0] for one in clients]
        assert set(statuses) == {401, 503}
        trial.key = key
        async with calling(port) as client_again:
            await client_again.say(request(trial))
            assert (await client_again.hear())[0] == 200


async def test_ipv6(trial: Trial) -> None:
    """An address of the other family works as well."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return  # this machine has none
    stop = asyncio.Event()
    told: list[tuple[str, int]] = []

    def ready(host: str, port: int) -> None:
        told.append((host, port))
        stop.set()

    await serve(trial.app, ServerOptions(host="::1", port=0), stop, ready)
    assert told[0][0] == "::1"
