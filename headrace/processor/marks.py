"""Marked records: requests that may have been appended before, and those remembered for it.

Owns what is asked and remembered about them; which row is a duplicate is decided in `batch.py`.

A record whose headers carry `headrace-mark` may hold an id that is stored already: a retry the
collector could not prove to be the first, or a replay. Once every earlier range is settled it
is looked up in the store by the part of the id that its whole request shares (an unkeyed id is
a request of its own then; exact ids are compared in the end).

Retries are also remembered, durably and before the range's events, because a frozen log may
store a first try *after* its retry, unmarked: for an hour of the log's own time (not the
clock's: a backlog is read late) unmarked records of such a request are looked up too. They are
looked up among the rejects as well: a retry adds no row, whatever became of the first try. Replays
need not be remembered: what they repeat was rejected, so no first try of it is under way; and they
are judged anew, so that only what is stored speaks against them.

Where nothing is marked and nothing remembered this costs one look at each record's headers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from headrace.eventlog.port import Record
from headrace.processor.batch import Suspects
from headrace.processor.ranges import Range, Request
from headrace.schemas.event_ids import request_of
from headrace.schemas.records import MARK_RETRY, Header
from headrace.store.port import MarkedRequest, Place, Store

REMEMBERED_FOR: Final = timedelta(hours=1)
_MOST_PER_QUERY: Final = 1_000

_Found = dict[tuple[str, str], list[Place]]


def find_marked(range_: Range) -> None:
    """The step that finds the marked ones among records that could be read."""
    fields = range_.fields
    assert fields is not None  # `decode` made them
    named = zip(range_.records, fields.workspace_ids, fields.event_ids, strict=True)
    range_.marked = [
        (record, (workspace_id, request_of(event_id)))
        for record, workspace_id, event_id in named
        if record.headers and Header.MARK in record.headers and event_id
    ]


class Marks:
    """What one worker knows of its partition's marked requests."""

    def __init__(self, store: Store, log_id: str, partition: int) -> None:
        self._store = store
        self._log_id = log_id
        self._partition = partition
        self._remembered: dict[Request, datetime] | None = None

    async def look_up(self, range_: Range) -> Suspects | None:
        """Remember the range's retries, then ask where ids of suspect requests are held.

        None if nothing in the range can be a duplicate.
        """
        remembered = await self._recall(range_.records[0].appended_at)
        await self._remember(remembered, range_.marked)  # so that the retries are among them
        repeated = set()
        if remembered:
            requests_here = zip(
                range_.workspace_ids, map(request_of, range_.event_ids), strict=True
            )
            repeated = remembered.keys() & set(requests_here)
        requests = repeated | {request for _, request in range_.marked}
        if not requests:
            return None
        find_rejected = self._store.find_rejected_requests
        return Suspects(
            await self.find(list(requests)), await _in_turns(find_rejected, list(repeated))
        )

    async def _recall(self, now: datetime) -> dict[Request, datetime]:
        """What is remembered at the log's time `now`; the first time, from the store."""
        if self._remembered is None:
            known = await self._store.remembered_requests(
                self._log_id, self._partition, now - REMEMBERED_FOR
            )
            ordered = sorted(known, key=lambda request: request.appended_at)
            self._remembered = {
                (request.workspace_id, request.request): request.appended_at for request in ordered
            }
        _forget(self._remembered, before=now - REMEMBERED_FOR)
        return self._remembered

    async def _remember(
        self, remembered: dict[Request, datetime], marked: Sequence[tuple[Record, Request]]
    ) -> None:
        retries = {
            request: record.appended_at
            for record, request in marked
            if record.headers[Header.MARK] == MARK_RETRY
        }
        if retries:
            await self._store.remember_requests(
                [
                    MarkedRequest(self._log_id, self._partition, workspace_id, request, appended_at)
                    for (workspace_id, request), appended_at in retries.items()
                ]
            )
        for request, appended_at in retries.items():
            latest = max(appended_at, remembered.pop(request, appended_at))
            remembered[request] = latest  # at the end: the oldest stay in front

    async def find(self, requests: Sequence[Request]) -> _Found:
        """`(workspace_id, event_id)` → places, as `Store.find_requests`, in bounded questions."""
        return await _in_turns(self._store.find_requests, requests)


async def _in_turns(
    find: Callable[[Sequence[Request]], Awaitable[_Found]], requests: Sequence[Request]
) -> _Found:
    places: _Found = {}
    for start in range(0, len(requests), _MOST_PER_QUERY):
        places |= await find(requests[start : start + _MOST_PER_QUERY])
    return places


def _forget(remembered: dict[Request, datetime], before: datetime) -> None:
    while remembered:
        oldest = next(iter(remembered))
        if remembered[oldest] >= before:
            return
        del remembered[oldest]
