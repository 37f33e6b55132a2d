"""Rejected events through the log again: under their ids, marked, for admins alone."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.schemas.records import MARK_REPLAY, Header
from tests.collector.trial import GOOD, REPLAY, Trial, problem

OLD = {
    **GOOD,
    "event_id": "evt_01hx4j7k9m2n3p5q6r8s9t0v1w",
    "received_at": "2024-03-14T01:02:03.456789Z",
    "properties": {"price": 1.0},
}


async def test_events_keep_their_ids_and_times(trial: Trial) -> None:
    """The records are marked as replayed and belong to the key's workspace."""
    answer = await trial.send({"events": [OLD]}, REPLAY, key=trial.admin_key())
    assert answer.status_code == 200
    assert answer.json()["event_ids"] == [OLD["event_id"]]
    (value,) = trial.values()
    assert value.event_id == OLD["event_id"]
    assert value.received_at.isoformat() == "2024-03-14T01:02:03.456789+00:00"
    assert value.workspace_id == trial.workspace.id
    assert bytes(value.properties) == b'{"price": 1.0}'
    (record,) = trial.log.records()
    assert record.headers[Header.MARK] == MARK_REPLAY
    assert record.key.endswith(b"\x1fusr_abc123")


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"event_id": None}, "wrong_type", "event_id"),
        ({"event_id": "evt_no"}, "wrong_type", "event_id"),
        ({"received_at": "yesterday"}, "invalid_timestamp", "received_at"),
        ({"received_at": 17}, "wrong_type", "received_at"),
        ({"event": ""}, "too_short", "event"),
    ],
)
async def test_each_is_judged_by_itself(
    trial: Trial, change: dict[str, Any], code: str, field: str
) -> None:
    """A bad one does not spoil the rest."""
    answer = await trial.send({"events": [OLD | change, OLD]}, REPLAY, key=trial.admin_key())
    assert answer.json()["accepted"] == 1
    (error,) = answer.json()["errors"]
    assert (error["index"], error["code"], error["field"]) == (0, code, field)


@pytest.mark.parametrize("field", ["event_id", "received_at"])
async def test_what_makes_it_a_replay_is_required(trial: Trial, field: str) -> None:
    """A new event has its own endpoint."""
    event = {name: value for name, value in OLD.items() if name != field}
    answer = await trial.send({"events": [event]}, REPLAY, key=trial.admin_key())
    assert answer.json()["errors"][0]["field"] == field
    assert answer.json()["errors"][0]["code"] == "missing_field"


async def test_up_to_1000_at_once(trial: Trial) -> None:
    """As for new events."""
    answer = await trial.send({"events": [OLD] * 1001}, REPLAY, key=trial.admin_key())
    assert (answer.status_code, problem(answer)) == (400, "too_many_events")
    answer = await trial.send({"events": []}, REPLAY, key=trial.admin_key())
    assert (answer.status_code, problem(answer)) == (400, "no_events")
