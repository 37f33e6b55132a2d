"""What a connection does with what is whole: targets, versions, order; and slow readers."""

from __future__ import annotations

import asyncio
import gc
import weakref
from email.utils import parsedate_to_datetime
from typing import Any
from unittest import mock

import pytest

from headrace.collector import connection
from headrace.collector.answers import Answer
from headrace.collector.arriving import App, Bounds, Common, Request
from headrace.collector.connection import Connection
from headrace.collector.patience import Patience
from headrace.collector.requests import Incoming, by_name
from headrace.collector.wire import split_target
from headrace.schemas.errors import Overloaded
from tests.collector.test_idempotency import Gate
from tests.collector.test_server import PATIENCE, calling, head, request
from tests.collector.trial import Trial, served

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", "/", b""),
        (b"/v1/events?a=b?c", "/v1/events", b"a=b?c"),
        (b"/v1%2Fevents", "/v1/events", b""),
        (b"/caf%C3%A9%FF", "/caf\u00e9\ufffd", b""),
        (b"*", "*", b""),
        (b"http://collector:8080/v1/events?x", "/v1/events", b"x"),
        (b"http://collector", "/", b""),
    ],
)
def test_a_target_is_a_path_and_a_query(target: bytes, path: str, query: bytes) -> None:
    """Also in the forms that proxies are sent."""
    assert split_target(target) == (path, query)


def test_a_target_that_is_none_is_told() -> None:
    """It is the client's mistake."""
    with pytest.raises(ValueError, match="no URL"):
        split_target(b"nonsense")


def test_a_list_of_forwarded_addresses_may_be_several_headers() -> None:
    """Proxies add to it; of any other header the last counts."""
    named = by_name([(b"x-forwarded-for", b"a"), (b"a", b"1"), (b"x-forwarded-for", b"b, c")])
    assert named == {b"x-forwarded-for": b"a,b, c", b"a": b"1"}
    assert by_name([(b"a", b"1"), (b"a", b"2")]) == {b"a": b"2"}


async def test_answers_have_a_date(trial: Trial) -> None:
    """As a server with a clock must say (RFC 9110, 6.6.1)."""
    async with served(trial.app) as port, calling(port) as client:
        await client.say(GET)
        _, headers, _ = await client.hear()
    assert parsedate_to_datetime(headers["date"]).utcoffset() is not None


@pytest.mark.parametrize(
    "first",
    [
        b"GET /livez HTTP/1.0\r\n\r\n",
        b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /livez HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n",
    ],
)
async def test_whoever_wants_an_end_gets_it(trial: Trial, first: bytes) -> None:
    """By version or by word; what follows is not answered."""
    async with served(trial.app) as port, calling(port) as client:
        await client.say(first + GET)
        status, headers, _ = await client.hear()
        assert (status, headers["connection"]) == (200, "close")
        assert await client.hear_the_end()


async def test_every_request_before_nonsense_is_answered(trial: Trial) -> None:
    """Also those that still waited for their turn; half of one is not."""
    async with served(trial.app) as port, calling(port) as client:
        await client.say(request(trial) * 3 + head(trial, Transfer_Encoding="chunked") + b"x\r\n")
        answers = [await client.hear() for _ in range(3)]
        assert [status for status, _, _ in answers] == [200, 200, 200]
        assert ["close" in headers.get("connection", "") for _, headers, _ in answers] == [
            False,
            False,
            True,
        ]
        assert await client.hear_the_end()
    assert len(trial.log.records()) == 3


@pytest.mark.parametrize("count", [1, 3])
async def test_who_sends_no_more_may_still_read(trial: Trial, count: int) -> None:
    """As `nc -N` does: all that was asked is answered, then the connection ends."""
    async with served(trial.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(trial) * count)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE):
            told = await reader.read()
        writer.close()
    assert told.count(b"HTTP/1.1 200 OK") == count
    assert told.count(b"connection: close") == 1
    assert len(trial.log.records()) == count


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("headers", [{}, {"Idempotency_Key": "k"}])
async def test_a_connection_that_is_over_is_no_garbage(
    trial: Trial, status: int, headers: dict[str, Any]
) -> None:
    """Nothing of it waits for the garbage collector, which looks seldom, whatever it was told and
    whatever way its requests went."""
    if status == 503:
        trial.log.fail_appends(Overloaded("the log is full", retry_after=1.0))
    lost: list[weakref.ref[Connection]] = []

    class Watched(Connection):
        def connection_lost(self, exc: Exception | None) -> None:
            lost.append(weakref.ref(self))
            super().connection_lost(exc)

    common = Common(trial.app, Bounds())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Watched(common), "127.0.0.1", 0)
    gc.disable()
    try:
        async with calling(server.sockets[0].getsockname()[1]) as client:
            for _ in range(4):  # the last ones go the express way, if they may
                await client.say(request(trial, **headers))
                assert (await client.hear())[0] == status
        async with asyncio.timeout(PATIENCE):
            await common.wait_for_all()
        await asyncio.sleep(0.05)
        assert [one() for one in lost] == [None]
    finally:
        gc.enable()
        server.close()


async def test_what_is_being_appended_outlives_its_client() -> None:
    """Nobody is left to hear it, and the collector does not end before it is stored."""
    inner = Trial()
    gate = Gate(inner)
    trial = Trial(log=gate)
    stop = asyncio.Event()
    async with served(trial.app, stop) as port:
        async with calling(port) as client:
            await client.say(request(trial))
            await gate.reached.wait()
            client.reset()
        stop.set()
        await asyncio.sleep(0.1)
        assert inner.log.records() == []
        gate.open.set()
    assert len(inner.log.records()) == 1


async def test_what_never_ends_is_cut_off() -> None:
    """A handler that hangs does not hang the collector's end, nor does its client."""
    is_cancelled = asyncio.Event()
    is_asked = asyncio.Event()

    async def hang(_request: Incoming) -> Answer:
        is_asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            is_cancelled.set()
        raise AssertionError

    stop = asyncio.Event()
    async with served(App(hang), stop, stop_seconds=0.1) as port, calling(port) as client:
        await client.say(GET)
        await is_asked.wait()
        stop.set()
        assert await client.hear_the_end()
        async with asyncio.timeout(PATIENCE):
            await is_cancelled.wait()


async def test_whoever_does_not_read_gets_no_more_answers() -> None:
    """They would lie in our memory; when the client reads, it gets all of them."""
    asked = 0

    async def talk(_request: Incoming) -> Answer:
        nonlocal asked
        asked += 1
        return Answer(200, b'"' + b"x" * 4_000_000 + b'"')

    async with served(App(talk)) as port, calling(port) as client:
        await client.say(GET * 50)
        before = -1
        while before < asked:
            before = asked
            await asyncio.sleep(0.2)
        assert asked < 50
        for _ in range(50):
            assert (await client.hear())[0] == 200
    assert asked == 50


async def test_headers_that_we_do_not_read_are_not_late() -> None:
    """The client waits for its turn; when that comes, it has its time."""

    async def talk(_request: Incoming) -> Answer:
        return Answer(200, b'"' + b"x" * 4_000_000 + b'"')

    async with served(App(talk), bounds=Bounds(headers=1.0)) as port, calling(port) as client:
        await client.say(GET * 20 + GET[:-10])
        await asyncio.sleep(1.5)
        await client.say(GET[-10:])
        for _ in range(21):
            assert (await client.hear())[0] == 200


async def test_whoever_stays_after_a_refusal_is_cut_off(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end does not wait for a client that has its answer and does not hang up."""
    monkeypatch.setattr(connection, "_LINGER_SECONDS", 0.1)
    async with asyncio.timeout(PATIENCE):
        async with served(trial.app, stop_seconds=1_000) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()


async def test_bodies_that_nobody_took_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is answered early, and what is hung up on, leaves room for the next ones."""
    monkeypatch.setattr(connection, "MAX_UNTAKEN_BYTES", 100_000)
    trial = Trial()

    async def answer(_request: Incoming) -> Answer:
        return Answer(200, b"{}")

    async with served(App(answer)) as port:
        for _ in range(4):
            async with calling(port) as client:
                await client.say(head(trial, Content_Length=60_000) + b"x" * 40_000)
                assert (await client.hear())[0] == 200
                await client.say(b"x" * 20_000)
                await client.say(request(trial, b"x" * 60_000))
                assert (await client.hear())[0] == 200


async def test_patience_ends_once() -> None:
    """The last that was waited for counts, and what came is not late."""
    patience = Patience(asyncio.get_running_loop())
    late: list[str] = []
    is_over = asyncio.Event()

    def end() -> None:
        late.append("third")
        is_over.set()

    patience.wait_for("first", 0.01, lambda: late.append("first"))
    assert patience.came("first")
    patience.wait_for("second", 0.01, lambda: late.append("second"))
    assert not patience.came("another")
    assert patience.awaited == "second"
    patience.wait_for("third", 0.05, end)
    async with asyncio.timeout(PATIENCE):
        await is_over.wait()
    await asyncio.sleep(0.1)
    assert (late, patience.awaited) == (["third"], "")


async def test_patience_that_shrinks_is_in_time() -> None:
    """A timer that was set for much later does not hold up what is due soon."""
    patience = Patience(asyncio.get_running_loop())
    is_over = asyncio.Event()
    patience.wait_for("long", 1_000.0, is_over.clear)
    patience.wait_for("short", 0.01, is_over.set)
    async with asyncio.timeout(PATIENCE):
        await is_over.wait()
    patience.wait_for("again", 0.01, is_over.clear)
    patience.end()
    await asyncio.sleep(0.1)
    assert is_over.is_set()


async def test_what_has_come_of_a_body_is_taken_at_once() -> None:
    """In however many pieces it came: to take one after the other held up everybody else."""
    request = Request(mock.Mock(), "POST", "/", b"", {}, "")
    request.pieces = [b"x"] * 1_000
    assert await request.next_piece() == (b"x" * 1_000, False)
    request.pieces, request.is_whole = [b"y"] * 2, True
    assert request.take_whole() is None
    assert await request.next_piece() == (b"yy", True)
