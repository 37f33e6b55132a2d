"""`headrace sample`: a story that keeps to the schemas and can be told again."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest

from headrace.runtime.commands.sample import sample
from headrace.runtime.sampling import make_samples
from headrace.runtime.sending.mapping import Fields, Mapper
from headrace.schemas.errors import HeadraceError
from headrace.schemas.taxonomy import load_taxonomy

END = "2026-01-31"


def sampled(capsysbinary: pytest.CaptureFixture[bytes], count: int, **options: Any) -> list[bytes]:
    sample(count, **({"end": END} | options))
    return capsysbinary.readouterr().out.splitlines()


def test_the_same_seed_and_end_tell_the_same_story(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """So that a file can be made again; another seed makes other people."""
    first = sampled(capsysbinary, 500)
    assert first == sampled(capsysbinary, 500)
    assert first != sampled(capsysbinary, 500, seed=2)
    assert len(first) == 500


def test_every_line_is_an_event_as_send_takes_it(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Without any option."""
    mapper = Mapper(Fields())
    assert all(isinstance(mapper.map(line), bytes) for line in sampled(capsysbinary, 300))


def test_events_keep_to_the_shipped_schemas() -> None:
    """Each is of a type that has one, and none breaks it."""
    taxonomy = load_taxonomy()
    for event in make_samples(5_000, seed=3, end=datetime(2026, 1, 31, tzinfo=UTC)):
        assert taxonomy.has(event.event)
        assert taxonomy.check(event.event, event.properties) is None


def test_people_come_without_a_name_and_some_get_one(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Once known a device stays its user's, and somebody has several devices."""
    seen = defaultdict(list)
    for line in sampled(capsysbinary, 5_000):
        event = json.loads(line)
        seen[event["anonymous_id"]].append(event.get("user_id"))
    assert all(users[0] is None for users in seen.values())
    known = {device: set(users) - {None} for device, users in seen.items() if any(users)}
    assert 0 < len(known) < len(seen)
    assert all(len(users) == 1 for users in known.values())
    devices = Counter(user for users in known.values() for user in users)
    assert max(devices.values()) > 1


def test_times_rise_towards_the_end(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Over so many days, and never past it."""
    times = [json.loads(line)["timestamp"] for line in sampled(capsysbinary, 100, days=2)]
    assert times == sorted(times)
    assert times[0] == "2026-01-29T00:00:00Z"
    assert times[-1] < END + "T00:00:00Z"


@pytest.mark.parametrize("options", [{"count": -1}, {"days": 0}, {"end": "soon"}])
def test_options_that_make_no_story_are_refused(options: dict[str, Any]) -> None:
    """With a sentence."""
    with pytest.raises(HeadraceError):
        sample(options.pop("count", 1), **options)


def test_no_events_are_no_lines(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """And no trouble."""
    assert sampled(capsysbinary, 0) == []
