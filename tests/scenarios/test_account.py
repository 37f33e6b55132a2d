"""The account of the scenarios sees what is wrong: one that is always true proves nothing."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.scenarios.account import find_gaps, take_account
from tests.scenarios.cluster import Cluster
from tests.scenarios.load import Load

Rows = list[tuple[Any, ...]]


class Tables:
    """A cluster that has these events, this ledger and these ends."""

    def __init__(self, events: Rows, ledger: Rows, ends: dict[int, tuple[int, int]]) -> None:
        self._events = events
        self._ledger = ledger
        self._ends = ends
        self.topic = self

    def rows(self, sql: str, **_: Any) -> Rows:
        if "log_position" in sql:
            return self._ledger
        return self._events if "properties_raw" in sql else [(0, 0, 0)]

    async def ends(self) -> dict[int, tuple[int, int]]:
        return self._ends


def tables(
    events: Rows | None = None,
    ledger: Rows | None = None,
    ends: dict[int, tuple[int, int]] | None = None,
) -> Cluster:
    return cast("Cluster", Tables(events or [], ledger or [], ends or {}))


def load() -> Load:
    """Events 1 and 2 were accepted; of 3 nobody was told."""
    made = Load([], "key")
    made.accepted = {"a": 1, "b": 2}
    made.unknown = {3}
    return made


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        ([("a", 1), ("b", 2)], None),
        ([("a", 1), ("b", 2), ("c", 3)], None),
        ([("a", 1)], "missing"),
        ([("a", 1), ("b", 2), ("b", 2)], "doubled"),
        ([("a", 1), ("b", 2), ("c", 2)], "strange"),
        ([("a", 1), ("b", 9)], "strange"),
        ([("a", 1), ("b", 2), ("c", 4)], "strange"),
        ([("a", 1), ("b", 2), ("c", 3), ("d", 3)], "strange"),
    ],
)
async def test_events_that_are_missing_doubled_or_strange(events: Rows, fault: str | None) -> None:
    """Each is told by its name; what nobody was told of may be there, once."""
    account = await take_account(tables(events), "ws", load())
    found = [name for name in ("missing", "doubled", "strange") if getattr(account, name)]
    assert found == ([fault] if fault else [])
    assert account.is_true is (fault is None)


@pytest.mark.parametrize(
    ("ledger", "is_whole"),
    [
        ([("log", 0, 3, 3, 3)], True),
        ([("log", 0, 2, 2, 2)], False),
        ([("log", 0, 2, 2, 3)], False),
        ([("log", 0, 4, 3, 3)], False),
        ([], False),
        ([("log", 0, 3, 3, 3), ("other", 0, 1, 1, 1)], False),
    ],
    ids=["whole", "end missing", "gap", "twice", "empty", "another log"],
)
async def test_positions_that_are_missing_or_twice(ledger: Rows, is_whole: bool) -> None:
    """The tables hold the positions from 0 to the log's end, each once."""
    gaps = await find_gaps(tables(ledger=ledger, ends={0: (0, 3), 1: (0, 0)}))
    assert (gaps == []) is is_whole
