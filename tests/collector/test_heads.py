"""Heads that were parsed before: what is made of them is what the parser makes of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from itertools import pairwise
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.collector import heads as module
from headrace.collector.answers import Answer
from headrace.collector.arriving import App, Bounds, Common
from headrace.collector.connection import Connection
from headrace.collector.heads import END, MAX_REQUEST_BYTES, Heads
from headrace.collector.parsing import MAX_HEADER_BYTES
from headrace.collector.requests import Incoming
from tests.collector.test_server import calling, head, request
from tests.collector.trial import Trial, served

PLAIN = b"POST /v1/events?a=b HTTP/1.1\r\nHost: x\r\nX-Custom: 1\r\nContent-Length: %d\r\n\r\n%s"
KINDS = [
    PLAIN,
    PLAIN.replace(b"X-Custom: 1", b"x-custom: 2\r\nX-Custom: 1"),
    PLAIN.replace(b"X-Custom: 1", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c"),
    PLAIN.replace(b"X-Custom: 1", b"Expect: 100-continue"),
    PLAIN.replace(b"X-Custom: 1", b"X-Forwarded-For: 1\r\nX-Forwarded-For: 2"),
    b"\r\n" + PLAIN,
    b"POST /v1/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
    PLAIN.replace(b"X-Custom: 1", b"Connection: close"),
    b"nonsense",
]
CHUNKED, ENDING = 6, 8
"""The kinds from here on have no length, or end a connection."""
BODIES = [b"", b"a", b"b", b"{}" + END + b"x", PLAIN % (1, b"a"), b"x" + PLAIN % (2, b"ab")]
MORE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SAME = 5
"""Requests alike: the first and the second are parsed, the others found."""


def written(kind: bytes, body: bytes) -> bytes:
    """A request's bytes."""
    return kind % (len(body), body) if b"%s" in kind else kind


class NoHeads(Heads):
    """Parses everything."""

    def find(self, head: bytes, body: bytes) -> None:
        return None


class Found(Heads):
    """Counts what was found."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def find(self, head: bytes, body: bytes) -> module.KnownHead | None:
        found = super().find(head, body)
        self.count += found is not None
        return found


async def heard(
    heads: Heads,
    pieces: Sequence[tuple[bytes, bool]],
    *,
    bounds: Bounds | None = None,
    answer_after: float = 0.0,
) -> list[object]:
    """What the handler gets of pieces on one connection, and what is written to the client."""
    got: list[object] = []

    async def handler(incoming: Incoming) -> Answer:
        body, last = b"", incoming.path == "/early"
        while not last:
            piece, last = await incoming.next_piece()
            body += piece
        said = (incoming.method, incoming.path, incoming.query, dict(incoming.headers), body)
        incoming.headers[b"traceparent"] = b"ours"
        got.append(said)
        if answer_after:
            await asyncio.sleep(answer_after)
        return Answer(200, body)

    common = Common(App(handler), bounds or Bounds())
    common.heads = heads
    connection = Connection(common)
    transport = mock.Mock()
    transport.get_extra_info.return_value = ("127.0.0.1", 1)
    transport.is_closing.return_value = False
    connection.connection_made(transport)
    for piece, waits in pieces:
        connection.data_received(piece)
        if waits:
            for _ in range(4):
                await asyncio.sleep(0)
    await asyncio.sleep(answer_after * 2)
    for _ in range(200):
        await asyncio.sleep(0)
    got += [call.args for call in transport.method_calls if call[0] in ("write", "write_eof")]
    got.append(common.untaken_bytes)
    connection.connection_lost(None)
    await asyncio.wait_for(common.wait_for_all(), 60)
    return got


KIND = st.integers(0, ENDING - 1)


@given(
    sent=st.lists(st.tuples(KIND, st.sampled_from(BODIES)), min_size=1, max_size=8),
    last=st.tuples(st.integers(0, len(KINDS) - 1), st.sampled_from(BODIES)),
    cuts=st.lists(st.integers(0, 1_000), max_size=6),
    busy=st.sets(st.integers(0, 6)),
)
async def test_it_makes_no_difference(
    sent: list[tuple[int, bytes]], last: tuple[int, bytes], cuts: list[int], busy: set[int]
) -> None:
    """Whatever is sent, in whatever pieces: with heads that are known and without."""
    texts = [written(KINDS[kind], body) for kind, body in (*sent, last)]
    everything = b"".join(texts)
    likely = [found.start() for found in re.finditer(b"POST|(?<=\r\n\r\n)", everything)]
    chosen = {(likely + list(range(len(everything))))[cut % len(everything)] for cut in cuts}
    places = sorted({0, len(everything), *chosen})
    pieces = [
        (everything[start:end], number not in busy)
        for number, (start, end) in enumerate(pairwise(places))
    ]
    heads = Found()
    for _ in range(SAME):
        for text in texts:
            await heard(heads, [(text, True)])
    if any(kind < CHUNKED and body for kind, body in sent):
        assert heads.count > 0
    assert await heard(heads, pieces) == await heard(NoHeads(), pieces)


KNOWN = written(PLAIN, b"a")


@pytest.mark.parametrize(
    "before",
    [
        b"POST /v1/events HTTP/1.1\r\n",
        b"POST /v1/events HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(KNOWN),
        b"POST /early HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(KNOWN),
        b"POST /v1/events HTTP/1.1\r\nContent-Length: 3\r\n\r\na",
    ],
)
@pytest.mark.parametrize("waits", [True, False])
async def test_what_looks_like_a_known_request_may_be_none(before: bytes, waits: bool) -> None:
    """It may stand among headers, or in a body, also in one that is answered already."""
    heads = Found()
    await heard(heads, [(KNOWN, True)] * SAME)
    found = heads.count
    assert found > 0
    pieces = [(before, waits), (KNOWN, True)]
    assert await heard(heads, pieces) == await heard(NoHeads(), pieces)
    assert heads.count == found


async def test_a_known_request_waits_for_its_turn() -> None:
    """The one before it is being answered."""
    heads = Found()
    await heard(heads, [(KNOWN, True)] * SAME)
    found = heads.count
    pieces = [(KNOWN, True), (written(KINDS[0], b"bc"), False), (KNOWN, False), (KNOWN, True)]
    assert await heard(heads, pieces) == await heard(NoHeads(), pieces)
    assert heads.count == found + 1


async def test_a_body_that_nobody_takes_is_not_counted_for_ever() -> None:
    """Of a known request that is answered before."""
    heads = Found()
    early = written(PLAIN.replace(b"/v1/events?a=b", b"/early"), b"a")
    got = await heard(heads, [(early, True)] * SAME)
    assert heads.count == SAME - 2
    assert got[-1] == 0


async def test_headers_that_are_known_are_there() -> None:
    """Whoever answers may take longer than headers may."""
    heads, bounds = Found(), Bounds(headers=0.01)
    await heard(heads, [(KNOWN, True)] * SAME)
    found = heads.count
    for each in (heads, NoHeads()):
        got = await heard(each, [(KNOWN, True)], bounds=bounds, answer_after=0.05)
        assert " 200 " in str(got[1])
    assert heads.count == found + 1


async def test_what_lies_between_known_requests_is_not_added_up() -> None:
    """Empty lines count as a part of the headers that follow, and each request has its own."""
    heads, lines = Found(), b"\r\n" * 8_000
    pieces = [(KNOWN, True), (lines, True)] * (MAX_HEADER_BYTES // len(lines) + 2)
    await heard(heads, [(KNOWN, True)] * SAME)
    found = heads.count
    assert await heard(heads, pieces) == await heard(NoHeads(), pieces)
    assert heads.count > found


async def test_a_head_is_found_when_it_came_twice() -> None:
    """Whatever the body, if it is as long."""
    heads = Found()
    pieces = [(written(PLAIN, b"%d" % number), True) for number in range(SAME)]
    got = await heard(heads, pieces)
    assert heads.count == SAME - 2
    assert [said[4] for said in got[:SAME] if isinstance(said, tuple)] == [
        b"0", b"1", b"2", b"3", b"4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        written(PLAIN, b""),
        written(PLAIN, b"a") + MORE,
        written(PLAIN, b"abc")[:-1],
        written(PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"), b"a"),
        written(PLAIN.replace(b"X-Custom", b"X" * 2_048), b"a"),
        written(PLAIN.replace(b"X-", b"".join(b"%d:\r\n" % n for n in range(40)) + b"X-"), b"a"),
        written(PLAIN.replace(b"X-Custom", b"Idempotency-Key"), b"a"),
        written(PLAIN.replace(b"X-Custom", b"Traceparent"), b"a"),
        written(PLAIN.replace(b"X-Custom", b"X-Request-Id"), b"a"),
        written(PLAIN, b"a" * MAX_REQUEST_BYTES),
        MORE,
    ],
)
async def test_what_is_not_kept(text: bytes) -> None:
    """No body, no request or the last of its connection, too long, too much, never again."""
    heads = Found()
    for _ in range(SAME):
        await heard(heads, [(text, True)])
    assert heads.count == 0


def test_they_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten; and what comes only once is never kept."""
    monkeypatch.setattr(module, "_MAX_HEADS", 2)
    monkeypatch.setattr(module, "_MAX_SEEN", 10)
    heads = Heads()

    def came(number: int) -> bool:
        text = b"head %d" % number
        incoming = Incoming("POST", "/", b"", {b"content-length": b"1"}, "")
        is_known = heads.find(text, b"a") is not None
        if not is_known:
            heads.learn(text, b"a", incoming)
        return is_known

    assert [came(1), came(1), came(1), came(2), came(2), came(2)] == [False, False, True] * 2
    assert not any(came(number) for number in range(100, 200))
    assert came(1)
    assert came(2)
    assert [came(3), came(3), came(3)] == [False, False, True]
    assert not came(1)
    assert came(2)


async def test_a_known_head_opens_nothing(trial: Trial) -> None:
    """Key and limit are asked for each request, and headers of one are not another's."""
    async with served(trial.app) as port, calling(port) as client:
        for _ in range(SAME):
            await client.say(request(trial))
            status, _, _ = await client.hear()
            assert status == 200
        trial.directory.revoke_key(trial.key)
        await client.say(request(trial))
        status, _, _ = await client.hear()
        assert status == 401
        await client.say(head(trial, Content_Length="3") + b"abc")
        status, _, _ = await client.hear()
        assert status == 401
