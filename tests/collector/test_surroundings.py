"""What is around the endpoints: pages of other origins, health, metrics, documentation."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

from headrace.collector.answers import PROBLEMS
from headrace.collector.openapi import describe
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
    elsewhere = {"not_found", "method_not_allowed", "invalid_http", "stopping", "not_ready"}
    missing = {one.error for one in PROBLEMS if f"`{one.error}`" not in text}
    assert missing == elsewhere
