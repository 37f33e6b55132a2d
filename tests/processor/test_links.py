"""Which links are worth a row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from headrace.processor.links import Links
from headrace.store.port import LinkRow

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def link(user_id: str, seconds: int = 0, source: str = "evt_1", device: str = "d") -> LinkRow:
    return LinkRow("ws", device, user_id, NOON + timedelta(seconds=seconds), source)


def test_of_each_pair_the_first_is_chosen() -> None:
    """First by receipt, then by id, in whatever order they lie in the log."""
    links = [link("u", 5), link("u", 3, "evt_2"), link("u", 3, "evt_1"), link("u", 4), link("v", 9)]
    assert Links().choose(links) == [link("u", 3, "evt_1"), link("v", 9)]


def test_what_was_inserted_is_not_inserted_again() -> None:
    """Unless an earlier one turns up: it moves the link's time back."""
    links = Links()
    links.note(links.choose([link("u", 5)]))
    assert links.choose([link("u", 5), link("u", 6)]) == []
    assert links.choose([link("u", 4)]) == [link("u", 4)]


def test_what_was_chosen_but_not_inserted_is_chosen_again() -> None:
    """A failed insert must not be mistaken for one that succeeded."""
    links = Links()
    assert links.choose([link("u")]) == links.choose([link("u")]) == [link("u")]


def test_the_memory_is_bounded() -> None:
    """The pairs noted longest ago are forgotten, and then written again, which harms nobody."""
    links = Links(most=2)
    links.note([link("u", device="a"), link("u", device="b"), link("u", device="a")])
    links.note([link("u", device="c")])
    chosen = links.choose([link("u", device=device) for device in "abc"])
    assert [row.anonymous_id for row in chosen] == ["b"]
