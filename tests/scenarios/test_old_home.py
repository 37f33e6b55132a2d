"""A HOME that 0.1.0 made goes on with this version, as it stood when its machine went down."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.scenarios.node import Node, post, until

pytestmark = pytest.mark.node

ARCHIVE: Final = Path(__file__).parent.parent / "golden" / "home-0.1.0.tar.xz"
"""Made by 0.1.0 itself: 161 records in tables, then 40 that its collector had answered for and
nobody had stored when it was killed, in a WAL that was not carried over."""


def events(first: int, count: int, *, misfits: bool = True) -> Sequence[dict[str, Any]]:
    """What was sent to it: twenty devices, four of which have a user; a few break their schema."""
    return [
        {
            "event": "paywall_viewed",
            "timestamp": f"2026-11-20T19:{n // 60 % 60:02d}:{n % 60:02d}Z",
            "anonymous_id": f"device_{n % 20}",
            "properties": {
                "paywall_id": 7 if misfits and n % 10 == 3 else f"pw_{n % 7}",
                "context": "settings",
            },
            **({} if n % 5 else {"user_id": f"usr_{n % 20}"}),
        }
        for n in range(first, first + count)
    ]


SETTLED: Final = [*events(0, 140, misfits=False), *events(0, 1), *events(140, 20)]
PENDING: Final = [*events(200, 30), *events(300, 10)]


def person(event: dict[str, Any]) -> str:
    device = int(event["anonymous_id"].removeprefix("device_"))
    return f"device_{device}" if device % 5 else f"usr_{device}"


def is_misfit(event: dict[str, Any]) -> bool:
    return isinstance(event["properties"]["paywall_id"], int)


@pytest.fixture
def old(make_node: Callable[..., Node]) -> Node:
    """Two days later at least: what was kept under keys has expired."""
    node = make_node(HEADRACE_CLOCK_OFFSET_SECONDS=str(2 * 24 * 3600))
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(node.home.root, filter="data")
    return node


def stored(node: Node) -> Counter[tuple[Any, ...]]:
    rows = node.rows(
        "SELECT anonymous_id, formatDateTime(timestamp, '%FT%TZ'), person_id FROM events"
    )
    return Counter(rows)


def expected(sent: Sequence[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    return Counter(
        (event["anonymous_id"], event["timestamp"], person(event))
        for event in sent
        if not is_misfit(event)
    )


def test_a_home_of_0_1_0_is_brought_up_and_loses_nothing(old: Node) -> None:
    """Rows, links, keys and what was in its log only; and it does what this version does."""
    old.start()
    old.until_settled()
    sent = [*SETTLED, *PENDING]
    until(lambda: stored(old) == expected(sent), "every event is stored, of the right person")
    misfits = sum(map(is_misfit, sent))
    assert misfits == 6
    assert old.rows("SELECT code, count() FROM rejected_events GROUP BY 1") == [
        ("schema_violation", misfits)
    ]
    assert "Equal: 201 appended" in old.run("ledger").stdout

    again = post(
        old.url + "/v1/batch/events",
        old.credentials.api_key,
        {"events": events(300, 10)},
        **{"Idempotency-Key": "second"},
    )
    assert again.json()["accepted"] == 10
    assert again.json()["event_ids"][0] == "evt_01xjwba1tq4e2rh9rjvpgkfe00"
    old.until_settled()
    assert stored(old) == expected(sent)
    assert old.rows("SELECT count() FROM deduplicated_events") == [(10,)]

    assert "other" in old.run("workspaces", "list").stdout
    erased = old.run("erase", "--workspace", "default", "--user", "usr_5", "--yes")
    assert erased.returncode == 0, erased.stderr
    kept = [event for event in sent if person(event) != "usr_5"]
    assert stored(old) == expected(kept)
    assert old.run("ledger").returncode == 0
    assert old.stop() == 0


def came_so_far(node: Node, word: str) -> bool:
    return word in node.said()


def test_it_is_brought_up_again_when_it_was_killed_on_the_way(old: Node) -> None:
    """Wherever: the next start goes on."""
    for word in ("store     ready", "collector ready", "processor ready"):
        old.launch()
        until(partial(came_so_far, old, word), f"it came so far: {word}")
        old.kill_all()
        old.console.unlink()
    old.start()
    old.until_settled()
    until(
        lambda: stored(old) == expected([*SETTLED, *PENDING]), "every event is stored exactly once"
    )
    assert old.run("ledger").returncode == 0
