"""Which events make an identity link, and which links the store need not be told again.

Owns a bounded memory of what was inserted by this worker. After a login nearly every event of
a device carries both ids; only the first of each pair matters (the smallest receipt and id), so
the rest would be rows written for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from headrace.processor.ranges import Range
from headrace.store.port import LinkRow

MOST_REMEMBERED: Final = 200_000

_Pair = tuple[str, str, str]
_Rank = tuple[datetime, str]


class Links:
    """The links inserted lately."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._ranks: dict[_Pair, _Rank] = {}

    def find(self, range_: Range) -> None:
        """The step that finds the links of a range's events, in the thread of the pure steps.

        What is in the store stays there, so it may run while an earlier range is written: at
        worst that range's links are found again and `choose` leaves them out.
        """
        columns, into = range_.columns, range_.links
        assert columns is not None  # `identify` made them
        ranks = self._ranks
        for (
            user_known,
            anonymous_known,
            position,
            workspace,
            anonymous_id,
            user_id,
            at,
            event_id,
        ) in zip(
            columns.user_known,
            columns.anonymous_known,
            columns.positions,
            columns.workspace_ids,
            columns.anonymous_ids,
            columns.user_ids,
            columns.received_at,
            columns.event_ids,
            strict=True,
        ):
            # Two equal ids make no link: as the first of that anonymous id it would keep every
            # real one out.
            if not (user_known and anonymous_known) or user_id == anonymous_id:
                continue
            known = ranks.get((workspace, anonymous_id, user_id))
            if known is None or (at <= known[0] and (at, event_id) < known):
                into[position] = LinkRow(workspace, anonymous_id, user_id, at, event_id)

    def choose(self, links: Iterable[LinkRow]) -> Sequence[LinkRow]:
        """Of each pair the first link, unless one at least as early was inserted already."""
        first: dict[_Pair, LinkRow] = {}
        for link in links:
            pair = _pair(link)
            rival = first.get(pair)
            best = self._ranks.get(pair) if rival is None else _rank(rival)
            if best is None or _rank(link) < best:
                first[pair] = link
        return list(first.values())

    def note(self, links: Iterable[LinkRow]) -> None:
        """These are in the store now."""
        for link in links:
            self._ranks.pop(_pair(link), None)
            self._ranks[_pair(link)] = _rank(link)
        while len(self._ranks) > self._most:
            del self._ranks[next(iter(self._ranks))]


def _pair(link: LinkRow) -> _Pair:
    return (link.workspace_id, link.anonymous_id, link.user_id)


def _rank(link: LinkRow) -> _Rank:
    return (link.received_at, link.source_event_id)
