"""The API contract to the letter: its examples, its limits, its answers."""

from __future__ import annotations

import json
import re

import pytest

from tests.collector.trial import BATCH, GOOD, NOW, ONE, Trial, problem

pytestmark = pytest.mark.usefixtures("both_ways")

EVENT_ID = re.compile(r"evt_[0-7][0-9a-hjkmnp-tv-z]{25}")

SINGLE_EXAMPLE = b"""{
    "event": "paywall_viewed",
    "user_id": "usr_abc123",
    "timestamp": "2024-03-15T14:22:00Z",
    "properties": {
      "paywall_id": "pw_annual_v3",
      "offer_id": "offer_intro_50pct",
      "plan_ids": ["plan_annual_usd", "plan_monthly_usd"],
      "context": "onboarding_step_3"
    }
  }"""

BATCH_EXAMPLE = b"""{
    "events": [
      {
        "event": "paywall_viewed",
        "user_id": "usr_abc123",
        "timestamp": "2024-03-15T14:20:00Z",
        "properties": {
          "paywall_id": "pw_annual_v3",
          "context": "onboarding_step_3"
        }
      },
      {
        "event": "trial_started",
        "user_id": "usr_abc123",
        "timestamp": "2024-03-15T14:22:00Z",
        "properties": {
          "plan_id": "plan_annual_usd",
          "trial_length_days": 7
        }
      }
    ]
  }"""


async def test_the_example_of_a_single_event(trial: Trial) -> None:
    """The contract's request is answered with the contract's answer, and lies in the log."""
    answer = await trial.send(SINGLE_EXAMPLE, ONE, content_type="application/json")
    assert answer.status_code == 200
    assert list(answer.json()) == ["status", "event_id"]
    assert answer.json()["status"] == "ok"
    assert EVENT_ID.fullmatch(answer.json()["event_id"])
    (value,) = trial.values()
    assert value.event_id == answer.json()["event_id"]
    assert value.workspace_id == trial.workspace.id
    assert (value.event, value.user_id, value.anonymous_id) == (
        "paywall_viewed",
        "usr_abc123",
        None,
    )
    assert value.received_at == NOW
    assert bytes(value.properties) in SINGLE_EXAMPLE


async def test_the_example_of_a_batch(trial: Trial) -> None:
    """Ids come in the request's order; every field of the contract is there."""
    answer = await trial.send(BATCH_EXAMPLE, BATCH, content_type="application/json")
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["status", "accepted", "rejected", "event_ids", "errors"]
    assert (body["status"], body["accepted"], body["rejected"]) == ("ok", 2, 0)
    assert body["errors"] == []
    assert body["event_ids"] == [value.event_id for value in trial.values()]
    assert [value.event for value in trial.values()] == ["paywall_viewed", "trial_started"]


async def test_a_bad_event_never_spoils_the_rest(trial: Trial) -> None:
    """Rejected events appear in errors with the index and the reason."""
    answer = await trial.send({"events": [GOOD, {**GOOD, "event": 17}, GOOD]})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["accepted"], body["rejected"]) == (2, 1)
    assert body["errors"] == [
        {
            "index": 1,
            "reason": "`event` must be a string, not the number 17",
            "code": "wrong_type",
            "field": "event",
        }
    ]
    assert body["event_ids"] == [value.event_id for value in trial.values()]


async def test_a_batch_without_a_good_event_is_still_answered_200(trial: Trial) -> None:
    """The request was understood; only its events were not."""
    answer = await trial.send({"events": [1, None]})
    assert answer.status_code == 200
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (0, 2)
    assert trial.log.records() == []


async def test_a_batch_holds_1000_events(trial: Trial) -> None:
    """1,000 are taken; with one more the whole request is refused."""
    answer = await trial.send({"events": [GOOD] * 1000})
    assert answer.json()["accepted"] == 1000
    assert len(set(answer.json()["event_ids"])) == 1000
    answer = await trial.send({"events": [GOOD] * 1001})
    assert (answer.status_code, problem(answer)) == (400, "too_many_events")
    assert len(trial.log.records()) == 1000


async def test_a_bad_single_event_is_400_with_error_message_and_field(trial: Trial) -> None:
    """What a batch says about an element, a single event's refusal says about it."""
    answer = await trial.send({**GOOD, "user_id": None}, ONE)
    assert (answer.status_code, problem(answer)) == (400, "missing_id")
    assert answer.json()["field"] == "user_id"


LONG = {
    "event": ("e" * 200, "e" * 201, "too_long"),
    "user_id": ("u" * 256, "u" * 257, "too_long"),
    "anonymous_id": ("\N{GRINNING FACE}" * 256, "\N{GRINNING FACE}" * 257, "too_long"),
    "properties": ({"a": "x" * 65_527}, {"a": "x" * 65_529}, "properties_too_large"),
    "timestamp": ("2199-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "timestamp_out_of_range"),
}


@pytest.mark.parametrize("field", LONG)
async def test_limits_are_where_they_are_said_to_be(trial: Trial, field: str) -> None:
    """The last value that fits is taken, the next one is not."""
    fits, does_not, code = LONG[field]
    answer = await trial.send({"events": [{**GOOD, field: fits}, {**GOOD, field: does_not}]})
    assert answer.json()["accepted"] == 1
    assert [(one["index"], one["code"]) for one in answer.json()["errors"]] == [(1, code)]


async def test_properties_nest_32_levels(trial: Trial) -> None:
    """Level 33 is one too many; brackets in strings do not count."""

    def nested(levels: int) -> bytes:
        return b'{"a":' * (levels - 1) + b'{"s":"[[[[{{{{"}' + b"}" * (levels - 1)

    event = b'{"event":"e","user_id":"u","timestamp":"2024-03-15T14:22:00Z","properties":%s}'
    body = b'{"events":[%s,%s]}' % (event % nested(32), event % nested(33))
    answer = await trial.send(body)
    assert answer.json()["accepted"] == 1
    assert answer.json()["errors"][0]["code"] == "properties_too_deep"


async def test_properties_are_kept_byte_for_byte(trial: Trial) -> None:
    """Blanks, order, duplicates and numbers of any size are the client's own."""
    properties = b'{ "b" : 1.0, "a":1e999,"a":2 , "n":123456789012345678901234567890,"\\u0000":""}'
    body = b'{"event":"e","user_id":"u","timestamp":"2024-03-15T14:22:00Z","properties":%s}'
    await trial.send(body % properties, ONE)
    assert bytes(trial.values()[0].properties) == properties


async def test_unknown_fields_are_ignored(trial: Trial) -> None:
    """Newer clients may send more; none of it is stored by accident."""
    answer = await trial.send({**GOOD, "event_id": "mine", "workspace_id": "other", "x": [1]}, ONE)
    assert answer.status_code == 200
    (record,) = trial.log.records()
    assert set(json.loads(record.value)) == {
        "event_id",
        "workspace_id",
        "event",
        "timestamp",
        "received_at",
        "user_id",
    }
    assert trial.values()[0].workspace_id == trial.workspace.id


async def test_a_record_lies_with_its_device(trial: Trial) -> None:
    """The key is workspace and anonymous id, else user id; ids of nobody count as absent."""
    events = [
        {**GOOD, "anonymous_id": "device"},
        GOOD,
        {**GOOD, "anonymous_id": "null"},
        {**GOOD, "anonymous_id": "0", "user_id": "guest"},
    ]
    await trial.send({"events": events})
    workspace = trial.workspace.id.encode()
    keys = [record.key.removeprefix(workspace + b"\x1f") for record in trial.log.records()]
    assert keys[:3] == [b"device", b"usr_abc123", b"usr_abc123"]
    assert keys[3] == trial.values()[3].event_id.encode()


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/event", "/v1/events/", "//v1/events"])
async def test_other_paths_are_404(trial: Trial, path: str) -> None:
    """Nothing is guessed, and a redirect would lose the body."""
    answer = await trial.send(GOOD, path)
    assert answer.status_code in (404, 405)
    assert problem(answer) in ("not_found", "method_not_allowed")


async def test_other_methods_are_405_with_allow(trial: Trial) -> None:
    """The header says which would do."""
    async with trial.client() as client:
        answer = await client.get(ONE)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert problem(answer) == "method_not_allowed"
        answer = await client.options(ONE)
        assert (answer.status_code, answer.headers["allow"]) == (204, "POST")
        assert (await client.head("/livez")).status_code == 200


async def test_requests_have_ids(trial: Trial) -> None:
    """A client's own is taken when it is one, else one is made."""
    answer = await trial.send(GOOD, ONE, x_request_id="mine-1")
    assert answer.headers["x-request-id"] == "mine-1"
    answers = [await trial.send(GOOD, ONE, x_request_id="not one of ours") for _ in range(2)]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 2


async def test_a_fault_of_ours_is_500_without_details(trial: Trial) -> None:
    """The details are in the log under the request's id, nowhere else."""
    trial.log.append_error = RuntimeError("secret detail")  # type: ignore[assignment] # a bug
    answer = await trial.send(GOOD, ONE)
    assert (answer.status_code, problem(answer)) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.text
    assert "ratelimit" in answer.headers
