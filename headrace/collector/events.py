"""The two endpoints that take events: `POST /v1/events` and `POST /v1/batch/events`.

Owns what follows the body: decode → idempotency → append → answer. What comes before is
`intake.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from headrace.collector.answers import (
    BAD_EVENT,
    OTHER_BODY,
    STILL_RUNNING,
    Answer,
    BatchAnswered,
    EventAccepted,
    Refusal,
    Rejection,
    header_line,
    ok,
    retry_after,
)
from headrace.collector.bodies import Held, read_body
from headrace.collector.decode import Decoded, read_batch, read_event
from headrace.collector.event_ids import RequestIds
from headrace.collector.gate import Entry
from headrace.collector.idempotency import (
    FORGOTTEN_AFTER,
    First,
    Kept,
    Mismatch,
    Replay,
    Running,
    digest_of,
    key_hash,
    read_key,
)
from headrace.collector.intake import LARGE_BYTES, Endpoint, count_refused, record_headers
from headrace.collector.records import make_records
from headrace.collector.requests import Body, Incoming
from headrace.eventlog.port import Batch
from headrace.runtime.metrics import EVENTS_ACCEPTED, EVENTS_REFUSED, IDEMPOTENCY_DECISIONS
from headrace.schemas.records import MARK_RETRY, Header
from headrace.workspaces.port import ApiKey, Scope

_BAD_EVENTS: Final = frozenset(BAD_EVENT.values())
_REPLAYED: Final = header_line(b"idempotent-replayed", b"true")


class Sent(msgspec.Struct):
    """The events of one request on their way into the log."""

    workspace_id: str
    decoded: Decoded
    headers: Mapping[str, bytes]
    now: datetime

    def may_be_forgotten(self) -> bool:
        """Whether the first event is so old that a first try's key may be forgotten already."""
        events = self.decoded.events
        return bool(events) and self.now - events[0].timestamp > FORGOTTEN_AFTER

    def into_batch(self, event_ids: Sequence[str], *, marked: bool = False) -> Batch:
        """The records. The events, and with them the body they are views of, are let go:
        held during the append they would double what a request weighs."""
        records = make_records(self.decoded.events, event_ids, self.workspace_id, self.now)
        self.decoded.events = ()
        headers = {**self.headers, Header.MARK: MARK_RETRY} if marked else self.headers
        return Batch(records, headers)


class EventsEndpoint(Endpoint):
    """What single events and batches share; they differ in how they read and what they say."""

    scope_needed = Scope.INGEST
    read: Callable[[Body], Decoded]

    def say(self, event_ids: Sequence[str], rejections: Sequence[Rejection]) -> Any:
        """The body of a success."""
        raise NotImplementedError

    def claims(self, request: Incoming, workspace_id: str) -> bytes | None:
        header = request.headers.get(b"idempotency-key")
        if header is None:
            return None
        try:
            return key_hash(workspace_id, self.name, read_key(header))
        except Refusal:
            return None  # It is told when its turn comes, after what is wrong with the body.

    def decode(self, body: Body) -> Decoded:
        """What a body holds; raises `Refusal`. Events that are refused are counted."""
        try:
            decoded = self.read(body)
        except Refusal as refusal:
            if refusal.problem in _BAD_EVENTS:
                EVENTS_REFUSED.labels(refusal.problem.error).inc()
            raise
        count_refused(decoded.rejections)
        return decoded

    async def take(self, request: Incoming, key: ApiKey, held: Held, entry: Entry) -> Answer:
        body = await read_body(request, held, aside=self.shared.aside)
        if len(body) <= LARGE_BYTES:
            decoded = self.decode(body)
        else:
            decoded = await self.shared.aside(self.decode, body)
        now = self.shared.clock.now()
        sent = Sent(key.workspace.id, decoded, record_headers(request), now)
        if entry.key is not None:
            digest = digest_of(body)
            del body, decoded
            return await self._take_keyed(sent, entry, digest)
        if (header := request.headers.get(b"idempotency-key")) is not None:
            read_key(header)
        del body, decoded
        return await self._take_once(sent)

    async def _take_once(self, sent: Sent) -> Answer:
        event_ids = self.shared.ids.make(len(sent.decoded.events), sent.now)
        if event_ids:
            # Neither has a name here: the batch is let go at once (see `LocalKeys.append`), and an
            # error's trace would hold this frame, the frame the future, and the future the error.
            await self.shared.log.append(sent.into_batch(event_ids))
            self.shared.tallies.count(EVENTS_ACCEPTED, len(event_ids))
        return ok(self.say(event_ids, sent.decoded.rejections))

    async def _take_keyed(self, sent: Sent, entry: Entry, digest: bytes) -> Answer:
        claimed = await self.shared.gate.claim(entry, digest, sent.now)
        assert entry.key is not None
        ids = RequestIds(entry.key, digest)
        match claimed:
            case First():
                return await self._take_first(sent, entry, claimed, ids)
            case Replay(kept):
                IDEMPOTENCY_DECISIONS.labels("replayed").inc()
                return ok(self.say(ids.at(kept.indexes()), kept.rejections), _REPLAYED)
            case Running():
                IDEMPOTENCY_DECISIONS.labels("running").inc()
                raise Refusal(
                    STILL_RUNNING,
                    "the first request with this Idempotency-Key still runs; retry in 1 s",
                    headers=retry_after(1),
                )
            case Mismatch():
                IDEMPOTENCY_DECISIONS.labels("mismatch").inc()
                raise Refusal(
                    OTHER_BODY,
                    "this Idempotency-Key was used with another body within 24 hours; "
                    "use a new key for a new request",
                )

    async def _take_first(self, sent: Sent, entry: Entry, first: First, ids: RequestIds) -> Answer:
        rejections = sent.decoded.rejections
        marked = first.marked or sent.may_be_forgotten()
        event_ids = ids.at(sent.decoded.indexes)
        batch = sent.into_batch(event_ids, marked=marked)
        kept = Kept(first.asked.digest, len(event_ids), rejections, sent.workspace_id)
        IDEMPOTENCY_DECISIONS.labels("marked" if marked else "first").inc()
        appending = self.shared.gate.append(entry, batch, kept, sent.now)
        del batch  # see `LocalKeys.append`
        await appending
        self.shared.tallies.count(EVENTS_ACCEPTED, len(event_ids))
        return ok(self.say(event_ids, rejections))


class EventEndpoint(EventsEndpoint):
    """`POST /v1/events`."""

    name = "/v1/events"
    read = staticmethod(read_event)

    def say(self, event_ids: Sequence[str], _rejections: Sequence[Rejection]) -> EventAccepted:
        return EventAccepted(event_ids[0])


class BatchEndpoint(EventsEndpoint):
    """`POST /v1/batch/events`."""

    name = "/v1/batch/events"
    read = staticmethod(read_batch)

    def say(self, event_ids: Sequence[str], rejections: Sequence[Rejection]) -> BatchAnswered:
        return BatchAnswered(len(event_ids), len(rejections), event_ids, rejections)
