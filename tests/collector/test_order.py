"""The order of checks: key → rate limit → size → decode → idempotency → append → answer."""

from __future__ import annotations

import json

from headrace.schemas.errors import Overloaded
from tests.collector.trial import GOOD, ONE, Trial, problem


async def test_of_several_faults_the_first_in_order_is_told(trial: Trial) -> None:
    """A request with every fault, mended one by one: nobody without a key uses up a limit or
    sends us a body, and what a key was used for is not told about a body that is no event."""
    workspace = trial.directory.create_workspace("small", requests_per_minute=1)
    key = trial.directory.create_key(workspace)
    assert (await trial.send(GOOD, ONE, key=key, idempotency_key="used")).status_code == 200
    trial.log.fail_appends(Overloaded("the log is full", retry_after=1.0))
    huge, broken, other = b"[" * 11_000_000, b"[", json.dumps({**GOOD, "event": "other"}).encode()

    async def refused(body: bytes, *, by: str = key, under: str = "used") -> tuple[int, str]:
        answer = await trial.send(body, ONE, key=by, idempotency_key=under)
        return answer.status_code, problem(answer)

    assert await refused(huge, by="hrk_wrong") == (401, "invalid_key")
    assert await refused(huge) == (429, "rate_limited")
    for body, under, expected in (
        (huge, "used", (413, "body_too_large")),
        (broken, "used", (400, "invalid_json")),
        (other, "used", (422, "idempotency_key_reused")),
        (other, "free", (503, "overloaded")),
    ):
        trial.clock.advance(60)
        assert await refused(body, under=under) == expected
    assert len(trial.log.records()) == 1
