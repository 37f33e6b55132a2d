"""What is around the endpoints: pages of other origins, health, metrics, documentation."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from headrace.collector.answers import PROBLEMS
from headrace.collector.openapi import describe
from headrace.collector.requests import Incoming
from headrace.schemas.errors import Unavailable
from tests.collector.trial import BATCH, GOOD, ONE, Trial

PAGE = "https://shop.example"


async def preflight(trial: Trial, origin: str = PAGE) -> httpx2.Response:
    async with trial.client() as client:
        del client.headers["authorization"]
        return await client.options(
            BATCH,
            headers={
                "Origin": origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type,sentry-trace",
            },
        )


async def test_a_page_may_send(trial: Trial) -> None:
    """The preflight needs no key and allows whatever headers the page's tracing adds."""
    answer = await preflight(trial)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET, POST"
    allowed = answer.headers["access-control-allow-headers"]
    assert allowed == "authorization,content-type,sentry-trace"


@pytest.mark.parametrize("key", [None, "hrk_wrong"])
async def test_a_page_may_read_answers_and_their_headers(trial: Trial, key: str | None) -> None:
    """Refusals too, or it would not know why."""
    answer = await trial.send(GOOD, ONE, key=key, origin=PAGE)
    assert answer.headers["access-control-allow-origin"] == "*"
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    assert {"ratelimit", "retry-after", "idempotent-replayed", "x-request-id"} <= set(exposed)


async def test_origins_can_be_named() -> None:
    """Then only theirs are let in, and caches are told that the answer depends on it."""
    trial = Trial(cors_origins=(PAGE,))
    answer = await preflight(trial)
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "origin"
    answer = await preflight(trial, "https://evil.example")
    assert "access-control-allow-origin" not in answer.headers
    answer = await trial.send(GOOD, ONE, origin="https://evil.example")
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


async def test_live_and_ready() -> None:
    """Live whatever happens; ready when every check holds, and it says which does not."""
    loaded = True
    trial = Trial(checks={"snapshot_loaded": lambda: loaded})
    async with trial.client() as client:
        assert (await client.get("/livez")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {"status": "ok"}
        verbose = (await client.get("/readyz?verbose")).json()
        assert verbose["checks"] == {"log_writable": True, "snapshot_loaded": True}
        loaded = False
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"]["snapshot_loaded"] is False
        assert (await client.get("/livez")).status_code == 200


async def test_what_may_be_away_is_told_and_asks_nobody_to_leave() -> None:
    """A remark is shown beside the checks, and makes nothing ready or not."""
    writable = True
    trial = Trial(
        checks={"snapshot_loaded": lambda: writable},
        remarks={"redis": lambda: "down for 12 s; each collector counts for itself"},
    )
    async with trial.client() as client:
        assert (await client.get("/readyz")).json() == {"status": "ok"}
        verbose = await client.get("/readyz?verbose")
        assert verbose.status_code == 200
        told = {"redis": "down for 12 s; each collector counts for itself"}
        assert verbose.json()["remarks"] == told
        writable = False
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["remarks"]) == (503, told)


async def test_readiness_is_a_metric_as_well() -> None:
    """By check and for all together, as of the moment when somebody looks."""
    loaded = True
    trial = Trial(checks={"snapshot_loaded": lambda: loaded})
    async with trial.client() as client:
        text = (await client.get("/metrics")).text
        assert 'headrace_ready{check="snapshot_loaded"} 1.0' in text
        assert 'headrace_ready{check="all"} 1.0' in text
        loaded = False
        text = (await client.get("/metrics")).text
        assert 'headrace_ready{check="snapshot_loaded"} 0.0' in text
        assert 'headrace_ready{check="log_writable"} 1.0' in text
        assert 'headrace_ready{check="all"} 0.0' in text


TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
SPAN = f"00-{TRACE}-00f067aa0ba902b7-01"


class Tracer:
    """Records every request as one span, or none."""

    def __init__(self, *, records: bool = True) -> None:
        self.records = records
        self.seen: list[tuple[str, int | None]] = []

    def begin(self, request: Incoming) -> Tracer | None:
        self.path = request.path
        return self if self.records else None

    @property
    def traceparent(self) -> bytes:
        return SPAN.encode()

    def end(self, status: int | None) -> None:
        self.seen.append((self.path, status))


def record_headers(trial: Trial) -> list[dict[str, bytes]]:
    return [dict(record.headers) for record in trial.log.records()]


async def test_records_carry_on_the_trace_of_their_request() -> None:
    """The collector's own span is what follows from; the caller's is its parent."""
    trial = Trial(tracer=Tracer())
    await trial.send(GOOD, ONE, traceparent=PARENT)
    await trial.send(GOOD, ONE)
    assert record_headers(trial) == [{"traceparent": SPAN.encode()}] * 2


async def test_a_trace_that_is_not_recorded_costs_the_log_nothing() -> None:
    """Only what the caller sent is passed on."""
    trial = Trial(tracer=Tracer(records=False))
    await trial.send(GOOD, ONE, traceparent=PARENT)
    await trial.send(GOOD, ONE)
    assert record_headers(trial) == [{"traceparent": PARENT.encode()}, {}]


async def test_spans_end_with_the_answer() -> None:
    """Refusals and faults of ours have a status too; who looks at health is not traced."""
    tracer = Tracer()
    trial = Trial(tracer=tracer)
    await trial.send(GOOD, ONE)
    await trial.send(b"junk", ONE)
    await trial.send(GOOD, ONE, key="hrk_wrong")
    trial.log.fail_appends(Unavailable("gone"))
    await trial.send(GOOD, ONE)
    async with trial.client() as client:
        await client.get("/readyz")
    assert tracer.seen == [(ONE, 200), (ONE, 400), (ONE, 401), (ONE, 503)]


async def test_what_is_logged_meanwhile_carries_request_and_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody who has an answer's id finds every line about it."""
    trial = Trial()
    monkeypatch.setattr(trial.log, "append_error", RuntimeError("a bug"))
    with capture_logs(processors=[merge_contextvars]) as lines:
        answer = await trial.send(GOOD, ONE, traceparent=PARENT, x_request_id="mine")
        other = await trial.send(GOOD, ONE)
    assert answer.status_code == other.status_code == 500
    assert (lines[0]["request_id"], lines[0]["trace_id"]) == ("mine", TRACE)
    assert lines[1]["request_id"] == other.headers["x-request-id"]
    assert "trace_id" not in lines[1]


async def test_a_header_that_is_no_trace_is_none(trial: Trial) -> None:
    """Whatever a client calls so."""
    for header in ("", "x" * 55, "00-" + "Z" * 52):
        answer = await trial.send(GOOD, ONE, traceparent=header)
        assert answer.status_code == 200


async def test_metrics_have_bounded_labels(trial: Trial) -> None:
    """What a scanner asks for makes no series; endpoints are named."""
    await trial.send(GOOD, ONE)
    async with trial.client() as client:
        await client.get("/wp-login.php")
        text = (await client.get("/metrics")).text
    assert 'headrace_requests_total{endpoint="/v1/events",status="200"}' in text
    assert 'headrace_requests_total{endpoint="other",status="404"}' in text
    assert "wp-login" not in text
    assert "headrace_events_accepted_total" in text


async def test_the_root_points_to_the_documentation(trial: Trial) -> None:
    """Whoever opens the address in a browser finds the way."""
    async with trial.client() as client:
        assert (await client.get("/")).json()["docs"] == "/docs"


async def test_the_page_needs_nothing_from_elsewhere(trial: Trial) -> None:
    """No script, no font, no picture from outside; every path and status is on it."""
    async with trial.client() as client:
        page = await client.get("/docs")
        document = (await client.get("/openapi.json")).json()
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"<script|src=|url\(|https?://", page.text)
    for path in document["paths"]:
        assert f"<code>{path}</code>" in page.text


def test_every_problem_is_documented() -> None:
    """Each stable code stands at the operations that can answer it."""
    document: dict[str, Any] = describe()
    text = "\n".join(
        response["description"]
        for methods in document["paths"].values()
        for operation in methods.values()
        for response in operation["responses"].values()
    )
    # Not of an operation: no path, no method, no HTTP, no connection.
    elsewhere = {"not_found", "method_not_allowed", "invalid_http", "stopping"}
    missing = {one.error for one in PROBLEMS if f"`{one.error}`" not in text}
    assert missing == elsewhere
