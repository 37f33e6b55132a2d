"""What `events` must show, said plainly: who is stored, and who each stored event is about.

Owns the rules of docs/tables.md in Python that uses nothing of ours, so that it can be held against
the processor and the store. Records are told to it in the order of the log.
"""

from __future__ import annotations

from typing import Final, NamedTuple

NOBODY: Final = frozenset({"", "null", "undefined", "guest", "0"})


class Sent(NamedTuple):
    """A record, as far as it matters for who it is about."""

    event_id: str
    device: str
    user: str
    received: int
    """When, in any unit."""
    is_good: bool
    """Whether the event can be stored."""


class Workspace:
    """One tenant."""

    def __init__(self, links_per_user: int) -> None:
        self._links_per_user = links_per_user
        self._events: dict[str, Sent] = {}
        self.excluded: set[tuple[str, str]] = set()

    def take(self, record: Sent) -> None:
        """The first record of an id decides; what comes again is a repeat."""
        self._events.setdefault(record.event_id, record)

    def people(self) -> dict[str, str]:
        """Every stored event's id → the person it is about now."""
        links = self.links()
        return {event.event_id: self._person(event, links) for event in self._stored()}

    def links(self) -> dict[str, str]:
        """Device → user, the links that count."""
        pairs: dict[tuple[str, str], tuple[int, str]] = {}
        for event in self._stored():
            if not ({event.device, event.user} & NOBODY or event.device == event.user):
                pair, rank = (event.device, event.user), (event.received, event.event_id)
                pairs[pair] = min(rank, pairs.get(pair, rank))
        counted: dict[str, int] = {}
        winners: dict[str, str] = {}
        for device, user in sorted(pairs.keys() - self.excluded, key=lambda pair: pairs[pair]):
            counted[user] = counted.get(user, 0) + 1
            if counted[user] <= self._links_per_user:
                winners.setdefault(device, user)
        return winners

    def _stored(self) -> list[Sent]:
        return [event for event in self._events.values() if event.is_good]

    def _person(self, event: Sent, links: dict[str, str]) -> str:
        if event.user not in NOBODY:
            return event.user
        return "" if event.device in NOBODY else links.get(event.device, event.device)
