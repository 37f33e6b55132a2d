"""The express way: what goes it, and that nobody can tell from outside which way a request went.

Most of what a request may be is held to be the same on both ways by the other files' tests, which
run twice (`both_ways`).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from headrace.collector.arriving import App, Bounds, Common
from headrace.collector.connection import Connection
from headrace.collector.events import EventsEndpoint
from headrace.collector.express import Express, Sender
from headrace.collector.requests import Incoming
from headrace.eventlog.port import Batch, KeyRecord
from headrace.schemas.errors import Overloaded, Unavailable
from tests.collector.test_idempotency import Gate
from tests.collector.test_server import BODY, calling, request
from tests.collector.trial import BATCH, GOOD, ONE, Trial, served

SEEN = 2
"""So many times a head is parsed before it is known."""
EVENT_ID = re.compile(rb"evt_[0-9a-z]{26}")
MASKS = [
    (EVENT_ID.pattern, b"evt"),
    (rb"ws_[0-9A-Za-z]+", b"ws"),
    (rb"(x-request-id: |under )[0-9a-f]{12}", rb"\1"),
]


def masked(text: bytes) -> bytes:
    """Without what is never twice the same."""
    for pattern, instead in MASKS:
        text = re.sub(pattern, instead, text)
    return text


class Line:
    """A connection of a client to a trial, and what was written to it."""

    def __init__(self, app: App) -> None:
        self.common = Common(app, Bounds())
        self.connection = Connection(self.common)
        self.transport = mock.Mock()
        self.transport.get_extra_info.return_value = ("127.0.0.1", 1)
        self.transport.is_closing.return_value = False
        self.connection.connection_made(self.transport)

    async def say(self, data: bytes) -> bytes:
        self.connection.data_received(data)
        return await self.hear()

    async def hear(self) -> bytes:
        for _ in range(50):
            await asyncio.sleep(0)
        calls = [call for call in self.transport.method_calls if call[0] == "write"]
        self.transport.reset_mock()
        return b"".join(call.args[0] for call in calls)

    async def hang_up(self) -> None:
        self.connection.connection_lost(None)
        await asyncio.wait_for(self.common.wait_for_all(), 60)


def lines_to(app: App, count: int) -> list[Line]:
    """Several connections, which know the same heads."""
    lines = [Line(app) for _ in range(count)]
    for line in lines[1:]:
        line.common.heads = lines[0].common.heads
    return lines


def counts() -> dict[tuple[str, str], float]:
    """What was counted since the process began, as far as it was handed over."""
    return {
        (sample.name, str(sample.labels)): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name.endswith(("_total", "_count", "_sum")) and sample.name.startswith("headrace")
    }


async def told(trial: Trial, *, express: bool, sent: Sequence[bytes]) -> list[Any]:
    """What a client hears of requests in their order, what lies in the log, what was counted."""
    trial.clock.advance(5)
    line = Line(trial.app if express else App(trial.app.handler))
    metrics = request(trial, path="/metrics").replace(b"POST", b"GET")
    await line.say(metrics)
    before = counts()
    answers = [masked(await line.say(text)) for text in sent]
    await line.say(metrics)
    after = counts()
    await line.hang_up()
    counted = {name: value - before.get(name, 0) for name, value in after.items()}
    values = [(masked(record.key), masked(record.value)) for record in trial.log.records()]
    return [answers, values, {name: value for name, value in counted.items() if value}]


class Counted(Express):
    """Counts what is put on the express way."""

    count = 0

    def put(self, sender: Sender, request: Incoming, body: bytes) -> None:
        Counted.count += 1
        super().put(sender, request, body)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    """`counted.count` requests were put on the express way."""
    monkeypatch.setattr("headrace.collector.app.Express", Counted)
    Counted.count = 0
    return Counted


EVENT = st.fixed_dictionaries(
    {},
    optional={
        "event": st.sampled_from(["paywall_viewed", "", 1]),
        "timestamp": st.sampled_from([GOOD["timestamp"], "yesterday", None]),
        "user_id": st.sampled_from(["u", "", "null", 7]),
        "anonymous_id": st.sampled_from(["d", "0000", None]),
        "properties": st.sampled_from([{}, {"a": [1, "\ud800"]}, {"a": 2**80}, []]),
    },
).map(lambda fields: {**GOOD, **fields})
BODIES = st.one_of(
    EVENT.map(lambda event: (ONE, json.dumps(event).encode())),
    st.lists(EVENT, max_size=4).map(
        lambda events: (BATCH, json.dumps({"events": events}).encode())
    ),
    st.tuples(
        st.sampled_from([ONE, BATCH]),
        st.sampled_from([b"", b"{", b"[]", b'{"events":{}}', b"\xff", b"{}", b"\xef\xbb\xbf{}"]),
    ),
)


@given(
    bodies=st.lists(BODIES, min_size=1, max_size=5),
    limit=st.sampled_from([3, 1_000]),
    dry_run=st.booleans(),
    origins=st.sampled_from([("*",), ("https://shop.example",)]),
)
async def test_nobody_can_tell(
    bodies: list[tuple[str, bytes]], limit: int, dry_run: bool, origins: Sequence[str]
) -> None:
    """The same bytes are said, the same records kept, the same things counted."""
    heard = []
    for express in (True, False):
        trial = Trial(cors_origins=origins)
        workspace = trial.directory.create_workspace(
            "one", requests_per_minute=limit, dry_run=dry_run
        )
        trial.key = trial.directory.create_key(workspace)
        sent = [request(trial, body, path=path) for path, body in bodies]
        known = [text for text in sent for _ in range(SEEN)]
        heard.append(await told(trial, express=express, sent=[*known, *sent, *sent]))
    assert heard[0] == heard[1]


@given(bodies=st.lists(BODIES, min_size=1, max_size=8), limit=st.sampled_from([3, 1_000]))
async def test_what_comes_at_once(bodies: list[tuple[str, bytes]], limit: int) -> None:
    """Each of several connections hears what it would hear alone, and the records are in order."""
    heard = []
    for express in (True, False):
        trial = Trial(requests_per_minute=limit)
        app = trial.app if express else App(trial.app.handler)
        lines = lines_to(app, len(bodies))
        # A head without a body is never known: it would go another way, and come in before others.
        sent = [request(trial, body or b" ", path=path) for path, body in bodies]
        for text in sent * SEEN:
            await lines[0].say(text)
        trial.clock.advance(60)
        for line, text in zip(lines, sent, strict=True):
            line.connection.data_received(text)
        told_ids: list[bytes] = []
        answers = []
        for line in lines:
            answer = await line.hear()
            told_ids += EVENT_ID.findall(answer)
            answers.append(masked(answer))
        records = trial.log.records()
        kept_ids = [found for record in records for found in EVENT_ID.findall(record.value)]
        assert len(set(kept_ids)) == len(kept_ids)
        assert set(told_ids) <= set(kept_ids)
        heard.append((answers, [masked(record.value) for record in records]))
        for line in lines:
            await line.hang_up()
    assert heard[0] == heard[1]


@pytest.mark.parametrize("error", [Overloaded("full", retry_after=3.0), Unavailable("gone")])
async def test_a_log_that_fails_is_told_alike(error: Exception, counted: type[Counted]) -> None:
    """Whether nothing was stored, or nobody knows."""
    heard = []
    for express in (True, False):
        trial = Trial()
        trial.log.fail_appends(error)  # type: ignore[arg-type]  # both are
        heard.append(await told(trial, express=express, sent=[request(trial)] * 4))
    assert heard[0] == heard[1]
    assert heard[0][0][-1].startswith(b"HTTP/1.1 503")
    assert counted.count == 2


class Broken(Gate):
    """A log with a fault of its own."""

    def append(self, batch: Batch, *, key_record: KeyRecord | None = None) -> asyncio.Future[None]:
        raise ZeroDivisionError


async def test_a_fault_of_ours_is_told_alike(counted: type[Counted]) -> None:
    """It is logged, and the connection goes on."""
    heard = []
    for express in (True, False):
        trial = Trial(log=Broken(Trial()))
        heard.append(await told(trial, express=express, sent=[request(trial)] * 4))
    assert heard[0] == heard[1]
    assert heard[0][0][-1].startswith(b"HTTP/1.1 500")
    assert counted.count == 2


async def test_what_goes_it(counted: type[Counted], trial: Trial) -> None:
    """Whole requests whose head came before, without a header that asks for more."""
    line = Line(trial.app)
    for _ in range(SEEN + 3):
        assert (await line.say(request(trial))).startswith(b"HTTP/1.1 200")
    assert counted.count == 3
    several: list[dict[str, Any]] = [
        {"Origin": "https://shop.example"},
        {"Idempotency_Key": "k"},
        {"Content_Encoding": "identity"},
        {"Content_Type": "application/json; charset=utf-8"},
        {"X_Request_Id": "mine"},
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    ]
    for odd in several:
        for _ in range(SEEN + 1):
            assert (await line.say(request(trial, **odd))).startswith(b"HTTP/1.1 200")
        assert counted.count == 3, odd
    await line.hang_up()
    assert len(trial.log.records()) == SEEN + 3 + 6 * (SEEN + 1) - SEEN


async def test_a_key_that_is_revoked_goes_it_no_more(trial: Trial) -> None:
    """A head that is known says who is asked, not what is answered."""
    line = Line(trial.app)
    for _ in range(SEEN + 1):
        assert (await line.say(request(trial))).startswith(b"HTTP/1.1 200")
    trial.directory.revoke_key(trial.key)
    assert (await line.say(request(trial))).startswith(b"HTTP/1.1 401")
    await line.hang_up()


async def test_requests_behind_it_wait_for_their_turn() -> None:
    """Answers come in the order of the requests, whatever way each went."""
    inner = Trial()
    gate = Gate(inner)
    trial = Trial(log=gate)
    gate.open.set()
    line = Line(trial.app)
    for _ in range(SEEN):
        await line.say(request(trial))
    gate.open.clear()
    other = request(trial, b"{")
    assert await line.say(request(trial)) == b""
    assert await line.say(other + request(trial)) == b""
    gate.open.set()
    heard = await line.hear()
    assert re.findall(rb"HTTP/1.1 (\d+)", heard) == [b"200", b"400", b"200"]
    await line.hang_up()
    assert len(inner.log.records()) == SEEN + 2


async def test_what_is_being_appended_outlives_its_client() -> None:
    """Nobody is left to hear it, and the collector does not end before it is stored."""
    inner = Trial()
    gate = Gate(inner)
    trial = Trial(log=gate)
    gate.open.set()
    stop = asyncio.Event()
    async with served(trial.app, stop) as port:
        async with calling(port) as client:
            for _ in range(SEEN):
                await client.say(request(trial))
                assert (await client.hear())[0] == 200
            gate.open.clear()
            gate.reached.clear()
            await client.say(request(trial))
            await gate.reached.wait()
            client.reset()
        stop.set()
        await asyncio.sleep(0.1)
        assert len(inner.log.records()) == SEEN
        gate.open.set()
    assert len(inner.log.records()) == SEEN + 1


@pytest.mark.parametrize("is_cut", [False, True])
async def test_the_collectors_end(is_cut: bool) -> None:
    """What is being appended is answered; what does not end is cut off, and hangs nobody."""
    inner = Trial()
    gate = Gate(inner)
    trial = Trial(log=gate)
    gate.open.set()
    stop = asyncio.Event()
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    seconds = 0.2 if is_cut else 15.0
    async with served(trial.app, stop, stop_seconds=seconds) as port, calling(port) as client:
        for _ in range(SEEN):
            await client.say(request(trial))
            await client.hear()
        gate.open.clear()
        gate.reached.clear()
        await client.say(request(trial))
        await gate.reached.wait()
        stop.set()
        await asyncio.sleep(0.05)
        if not is_cut:
            gate.open.set()
            status, headers, _ = await client.hear()
            assert (status, headers["connection"]) == (200, "close")
        assert await client.hear_the_end()
    assert len(inner.log.records()) == SEEN + (not is_cut)
    assert faults == []


async def test_all_that_comes_at_once_is_taken_step_by_step(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No append before everybody's events are read; each event is its own workspace's."""
    steps: list[str] = []
    decode, store = EventsEndpoint.decode, trial.log.store

    def note_decode(endpoint: EventsEndpoint, body: Any) -> Any:
        steps.append("decode")
        return decode(endpoint, body)

    def note_store(batch: Batch, key_record: KeyRecord | None) -> None:
        steps.append("store")
        store(batch, key_record)

    monkeypatch.setattr(EventsEndpoint, "decode", note_decode)
    monkeypatch.setattr(trial.log, "store", note_store)
    keys = {}
    for name in ("one", "two", "three"):
        workspace = trial.directory.create_workspace(name)
        keys[trial.directory.create_key(workspace)] = workspace.id
    sent = [request(trial).replace(trial.key.encode(), key.encode()) for key in keys]
    lines = lines_to(trial.app, len(sent))
    for text in sent * SEEN:
        await lines[0].say(text)
    steps.clear()
    for line, text in zip(lines, sent, strict=True):
        line.connection.data_received(text)
    for line in lines:
        await line.hear()
        await line.hang_up()
    assert steps == ["decode"] * 3 + ["store"] * 3
    last = [json.loads(record.value)["workspace_id"] for record in trial.log.records()[-3:]]
    assert last == list(keys.values())


async def test_what_is_held_is_counted() -> None:
    """Where there is no room for a body, its request goes the long way, where it waits for it; the
    first one there is never refused."""
    inner = Trial()
    gate = Gate(inner)
    gate.open.set()
    trial = Trial(log=gate, max_bytes_in_flight=2 * len(BODY))
    lines = lines_to(trial.app, 4)
    for _ in range(SEEN):
        await lines[0].say(request(trial))
    gate.open.clear()
    for line in lines:
        line.connection.data_received(request(trial))
    await lines[0].hear()
    assert REGISTRY.get_sample_value("headrace_bytes_in_flight") == 3 * len(BODY)
    gate.open.set()
    for line in lines:
        assert (await line.hear()).startswith(b"HTTP/1.1 200")
    assert len(inner.log.records()) == SEEN + 4
    assert REGISTRY.get_sample_value("headrace_bytes_in_flight") == 0
    for line in lines:
        await line.hang_up()


async def test_it_takes_no_task(trial: Trial) -> None:
    """The connection makes none: the one there is belongs to the log in memory."""
    line = Line(trial.app)
    for _ in range(SEEN):
        await line.say(request(trial))
    with mock.patch("headrace.collector.connection.asyncio.Task", side_effect=AssertionError):
        assert (await line.say(request(trial))).startswith(b"HTTP/1.1 200")
    await line.hang_up()


async def test_where_there_is_none() -> None:
    """Any request may be recorded in a trace; with Redis each must be asked about."""
    tracer = mock.Mock()
    tracer.begin.return_value = None
    assert Trial(tracer=tracer).app.express is None
    assert Trial(gate=mock.Mock()).app.express is None


class Picky(Gate):
    """A log that some records are a fault of ours to, a directory that some keys are."""

    def append(self, batch: Batch, *, key_record: KeyRecord | None = None) -> asyncio.Future[None]:
        if b"bad" in batch.records[0].value:
            raise ZeroDivisionError
        return super().append(batch, key_record=key_record)


async def test_one_that_fails_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests that are taken together each gets its own answer, in whatever step one fails."""
    inner = Trial()
    log = Picky(inner)
    log.open.set()
    trial = Trial(log=log)
    find_key, decode = trial.directory.find_key, EventsEndpoint.decode

    def fail_by_key(key: str) -> Any:
        return 1 // 0 if key.endswith("bad") else find_key(key)

    def fail_by_body(endpoint: EventsEndpoint, body: Any) -> Any:
        return 1 // 0 if b"broken" in body else decode(endpoint, body)

    monkeypatch.setattr(trial.directory, "find_key", fail_by_key)
    monkeypatch.setattr(EventsEndpoint, "decode", fail_by_body)
    good = request(trial)
    sent = [
        good,
        request(trial, BODY.replace(b"usr_abc123", b"bad")),
        good.replace(trial.key.encode(), b"bad"),
        request(trial, BODY.replace(b"usr_abc123", b"broken")),
        request(trial, b"{"),
        good,
    ]
    lines = lines_to(trial.app, len(sent))
    for text in sent * SEEN:
        await lines[0].say(text)
    stored = len(inner.log.records())
    for line, text in zip(lines, sent, strict=True):
        line.connection.data_received(text)
    heard = [(await line.hear())[9:12] for line in lines]
    assert heard == [b"200", b"500", b"500", b"500", b"400", b"200"]
    assert len(inner.log.records()) == stored + 2
    for line in lines:
        await line.hang_up()


async def test_a_client_that_hangs_up_at_once() -> None:
    """Before its request is taken: what was sent whole is stored, and the end waits for it."""
    inner = Trial()
    gate = Gate(inner)
    gate.open.set()
    trial = Trial(log=gate)
    line = Line(trial.app)
    for _ in range(SEEN):
        await line.say(request(trial))
    gate.open.clear()
    line.connection.data_received(request(trial))
    line.connection.connection_lost(None)
    assert await line.hear() == b""
    over = asyncio.create_task(line.common.wait_for_all())
    assert await line.hear() == b""
    assert not over.done()
    gate.open.set()
    await asyncio.wait_for(over, 60)
    assert await line.hear() == b""
    assert len(inner.log.records()) == SEEN + 1
