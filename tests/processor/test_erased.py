"""Events of people who were erased."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace.processor import erased
from headrace.schemas.erased import digest_of_device, digest_of_user, is_erased
from headrace.schemas.outcomes import Code
from tests.processor.trial import Trial, finish, until


@pytest.mark.parametrize(
    ("user_id", "anonymous_id", "expected"),
    [
        ("ann", None, True),
        ("ann", "other", True),
        (None, "phone", True),
        ("bob", "phone", False),
        ("bob", None, False),
        (None, "other", False),
        (None, "ann", False),
        ("phone", None, False),
        (None, None, False),
    ],
)
def test_whose_an_event_is(user_id: str | None, anonymous_id: str | None, expected: bool) -> None:
    """The user's; without one the device's. A user id is no device's id."""
    digests = {digest_of_user("ws", "ann"), digest_of_device("ws", "phone")}
    assert is_erased(digests, "ws", user_id, anonymous_id) is expected
    assert not is_erased(digests, "other workspace", user_id, anonymous_id)


async def test_their_events_are_rejected_and_nothing_of_them_kept() -> None:
    """Nor do they make links; those of others are stored, and a retry adds nothing."""
    trial = Trial(rows=100)
    trial.store.erased = {"ws": {digest_of_user("ws", "ann"), digest_of_device("ws", "phone")}}
    secret: dict[str, Any] = {"properties": b'{"secret":1}'}
    await trial.append(
        trial.make_event(user_id="ann", anonymous_id="tablet", **secret),
        trial.make_event(user_id=None, anonymous_id="phone", **secret),
        trial.make_event(user_id="null", anonymous_id="phone", **secret),
        trial.make_event(user_id="bob", anonymous_id="phone"),
        trial.make_event(user_id="ann", workspace_id="ws2"),
    )
    await trial.settle()
    assert {(row.workspace_id, row.user_id) for row in trial.store.events} == {
        ("ws", "bob"),
        ("ws2", "ann"),
    }
    assert [link.user_id for link in trial.store.links if link.workspace_id == "ws"] == ["bob"]
    assert len(trial.store.rejected) == 3
    for row in trial.store.rejected:
        assert (row.code, row.event) == (Code.ERASED, "click")
        held = (row.user_id, row.anonymous_id, row.properties_raw, row.raw, row.timestamp)
        assert held == ("", "", b"", b"", None)


async def test_the_list_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the work, also after the store was away; and before a partition is worked on."""
    monkeypatch.setattr(erased, "REFRESH_SECONDS", 0.01)
    trial = Trial()
    processor = trial.processor()
    run = asyncio.create_task(processor.run())
    await trial.append(trial.make_event(user_id="ann"))
    await until(trial.is_settled)
    trial.store.is_down = True
    await asyncio.sleep(0.05)
    trial.store.erased = {"ws": {digest_of_user("ws", "ann")}}
    trial.store.is_down = False
    await until(lambda: bool(processor._erased._ids))
    await trial.append(trial.make_event(user_id="ann"))
    await until(trial.is_settled)
    await finish(run, processor)
    assert (len(trial.store.events), len(trial.store.rejected)) == (1, 1)
