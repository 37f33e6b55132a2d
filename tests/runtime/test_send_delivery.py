"""One batch until it is judged: tries, waits, splits, and the sentences at the end."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import httpx2
import pytest

from headrace.runtime.sending.batches import Batch
from headrace.runtime.sending.delivery import (
    Backoff,
    Delivery,
    SendingEnded,
    Target,
    UnknownKey,
)
from headrace.runtime.sending.verdicts import Taken

BATCH = Batch("key", [b'{"n":1}', b'{"n":2}', b'{"n":3}', b'{"n":4}'], [1, 2, 3, 4], 40)
Answer = httpx2.Response | Exception


def ok(accepted: int = 4, **headers: str) -> httpx2.Response:
    content = {"status": "ok", "accepted": accepted, "rejected": 0, "event_ids": [], "errors": []}
    return httpx2.Response(200, json=content, headers=headers)


def failed(status: int, error: str = "trouble", **headers: str) -> httpx2.Response:
    content = {"error": error, "message": f"{error} it is"}
    return httpx2.Response(status, json=content, headers=headers)


class Collector:
    """Answers by a list, and remembers what it was asked and how long it was left alone."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self.slept: list[float] = []
        self.notices: list[str | None] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def deliver(
        self, batch: Batch = BATCH, *, tries: int = 4, compress: bool = False
    ) -> list[tuple[Batch, Taken]]:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(self)) as client:
            delivery = Delivery(
                client,
                Target("http://collector", "hrk_key"),
                compress=compress,
                backoff=Backoff(tries=tries),
                notice=self.notices.append,
                sleep=self.sleep,
            )
            return await delivery.deliver(batch)


async def test_a_batch_carries_its_key_and_the_api_key() -> None:
    """The body is the events', the headers say who and which."""
    collector = Collector(ok())
    [(batch, taken)] = await collector.deliver()
    [request] = collector.requests
    assert (batch, taken.accepted, taken.replayed) == (BATCH, 4, False)
    assert request.url == "http://collector/v1/batch/events"
    assert request.headers["Authorization"] == "Bearer hrk_key"
    assert request.headers["Idempotency-Key"] == "key"
    assert request.content == b'{"events":[{"n":1},{"n":2},{"n":3},{"n":4}]}'


async def test_compressed_bodies_are_the_same_each_time() -> None:
    """Gzip without a time in it, and said in the headers."""
    collector = Collector(ok(), ok())
    await collector.deliver(compress=True)
    await collector.deliver(compress=True)
    first, second = collector.requests
    assert first.content == second.content
    assert gzip.decompress(first.content) == BATCH.body()
    assert first.headers["Content-Encoding"] == "gzip"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: httpx2.ConnectError("refused"), id="no connection"),
        pytest.param(lambda: httpx2.ReadTimeout("slow"), id="no answer in time"),
        pytest.param(lambda: httpx2.RemoteProtocolError("hung up"), id="hung up"),
        pytest.param(lambda: failed(500), id="500"),
        pytest.param(lambda: failed(502), id="502"),
        pytest.param(lambda: failed(408), id="408"),
    ],
)
async def test_what_may_pass_is_tried_again_with_growing_pauses(
    answer: Callable[[], Answer],
) -> None:
    """Under the same key, so that nothing doubles if the first try was taken after all."""
    collector = Collector(answer(), answer(), answer(), ok())
    [(_, taken)] = await collector.deliver()
    assert taken.accepted == 4
    assert {request.headers["Idempotency-Key"] for request in collector.requests} == {"key"}
    assert len(collector.slept) == 3
    assert all(0.1 * 2**n <= pause <= 0.2 * 2**n for n, pause in enumerate(collector.slept))


async def test_after_the_last_try_it_ends_with_the_reason() -> None:
    """The sentence names the collector and what was seen last."""
    collector = Collector(*(httpx2.ConnectError("refused") for _ in range(3)))
    with pytest.raises(SendingEnded, match=r"http://collector: no answer \(refused\) \(3 tries\)"):
        await collector.deliver(tries=3)


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [(429, "rate_limited", "rate limit"), (503, "log_full", "says log_full: log_full it is")],
)
async def test_being_told_to_wait_is_no_try(status: int, error: str, told: str) -> None:
    """However often, and with a notice for the person who waits, the collector's reason in it."""
    waits = [failed(status, error, **{"Retry-After": "0"}) for _ in range(10)]
    collector = Collector(*waits, ok())
    [(_, taken)] = await collector.deliver(tries=1)
    assert taken.accepted == 4
    assert any(f"{told}: going on in" in (notice or "") for notice in collector.notices)


async def test_a_request_still_running_is_asked_again() -> None:
    """The time it names is waited, by this batch alone."""
    collector = Collector(failed(409, **{"Retry-After": "2"}), ok())
    await collector.deliver(tries=1)
    assert collector.slept == [2.0]


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405, 413, 415, 422, 431])
async def test_what_no_repeat_helps_ends_at_once(status: int) -> None:
    """One request, one sentence with the collector's own words."""
    collector = Collector(failed(status, "so"))
    with pytest.raises(SendingEnded, match=f"it answered {status}: so it is") as raised:
        await collector.deliver()
    assert len(collector.requests) == 1
    assert isinstance(raised.value, UnknownKey) == (status == 401)


async def test_an_answer_that_is_no_collectors_ends_at_once() -> None:
    """Some other server says 200 to everything."""
    collector = Collector(httpx2.Response(200, text="<html>"))
    with pytest.raises(SendingEnded, match="is this the collector's URL"):
        await collector.deliver()


async def test_a_body_refused_for_its_json_is_split_until_the_event_is_found() -> None:
    """The bad event is counted as rejected, its neighbours are taken, under derived keys."""

    class Judging(Collector):
        def __call__(self, request: httpx2.Request) -> httpx2.Response:
            self.requests.append(request)
            if b'"n":3' in request.content:
                return failed(400, "invalid_json")
            return ok(request.content.count(b'"n"'))

    collector = Judging()
    pieces = await collector.deliver()
    assert sum(taken.accepted for _, taken in pieces) == 3
    [(batch, taken)] = [(batch, taken) for batch, taken in pieces if taken.errors]
    assert (batch.lines, taken.errors[0].code) == ([3], "invalid_json")
    assert [request.headers["Idempotency-Key"] for request in collector.requests] == [
        "key",
        "key.0",
        "key.1",
        "key.1.0",
        "key.1.1",
    ]


async def test_another_bad_request_ends_at_once() -> None:
    """It is not one event's fault, so splitting would only ask a thousand times."""
    collector = Collector(failed(400, "no_events"))
    with pytest.raises(SendingEnded, match="400"):
        await collector.deliver()


async def test_the_answer_of_an_earlier_try_is_known_as_such() -> None:
    """`Idempotent-Replayed: true` tells."""
    collector = Collector(ok(4, **{"Idempotent-Replayed": "true"}))
    [(_, taken)] = await collector.deliver()
    assert taken.replayed


def test_a_target_does_not_show_its_key() -> None:
    """Not in a traceback, not in a log."""
    assert "secret" not in repr(Target("http://x", "secret"))
