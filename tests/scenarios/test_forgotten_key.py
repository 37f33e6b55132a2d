"""A keyed request repeated when its key is long forgotten, on a whole node."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.scenarios.node import Node, post

pytestmark = pytest.mark.node

A_DAY_AND_AN_HOUR = 25 * 3600


def test_a_request_repeated_after_its_key_was_forgotten(make_node: Callable[..., Node]) -> None:
    """A day later nothing is remembered of it: the same ids come back, and no row is added."""
    node = make_node().start()
    now = datetime.now(UTC).isoformat()
    body = {"events": [{"event": "once", "user_id": f"u{n}", "timestamp": now} for n in range(5)]}

    def send() -> list[str]:
        key = node.credentials.api_key
        answer = post(f"{node.url}/v1/batch/events", key, body, **{"Idempotency-Key": "import-1"})
        assert answer.status_code == 200
        assert "idempotent-replayed" not in answer.headers
        node.until_settled()
        return list(answer.json()["event_ids"])

    ids = send()
    assert node.stop() == 0
    node.environment["HEADRACE_CLOCK_OFFSET_SECONDS"] = str(A_DAY_AND_AN_HOUR)
    node.start()
    assert send() == ids
    stored = node.rows("SELECT event_id FROM events WHERE event = 'once'")
    assert sorted(row[0] for row in stored) == sorted(ids)
    dropped = node.rows("SELECT event_id FROM deduplicated_events")
    assert sorted(row[0] for row in dropped) == sorted(ids)
