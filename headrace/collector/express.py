"""The express way: what a request like many before it goes, in one go into the log.

Owns which requests go it. What is done to them is what is done on the long way (`observing.py`,
`intake.py`, `events.py`), by the same parts in the same order; but no coroutine waits for a body
that is there, and nothing is wrapped around what cannot go wrong. Half of what a single event
costs is that. Whatever is odd about a request is decided on the long way: it is sent there before
anything of it has been counted, and begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from headrace.collector.answers import Answer, Refusal, Rejection, ok
from headrace.collector.bodies import USUAL_TYPES
from headrace.collector.events import EventsEndpoint
from headrace.collector.intake import ALLOWED, Shared, append_failed
from headrace.collector.observing import Observer, fault, give_id
from headrace.collector.records import make_records
from headrace.collector.requests import Body, Incoming
from headrace.eventlog.port import Batch
from headrace.runtime.metrics import EVENTS_ACCEPTED
from headrace.schemas.errors import Overloaded, Unavailable
from headrace.workspaces.port import ApiKey

_LONG: Final = frozenset(
    {b"content-encoding", b"idempotency-key", b"origin", b"traceparent", b"x-request-id"}
)
"""Headers that ask for something that only the long way does."""


class Express:
    """The endpoints that take events, to requests that are whole. Never waits, never raises.

    `ids` are the same iterator as the long way's, `always` is what every answer carries.
    """

    def __init__(
        self,
        shared: Shared,
        endpoints: Iterable[EventsEndpoint],
        observer: Observer,
        *,
        ids: Iterator[bytes],
        always: bytes = b"",
    ) -> None:
        self.shared = shared
        self.observer = observer
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._ids = ids
        self._always = always

    def takes(self, request: Incoming) -> bool:
        """Whether nothing in its head is odd; what is true of one is true of all alike."""
        headers = request.headers
        return (
            request.method == "POST"
            and request.path in self._endpoints
            and headers.get(b"content-type", b"") in USUAL_TYPES
            and _LONG.isdisjoint(headers)
        )

    def begin(self, request: Incoming, body: Body) -> Sending | None:
        """Take a request that `takes` took, with its whole body; None if it must go the long way.

        Nothing of the body is held afterwards: what it became is in the log's hands.
        """
        shared = self.shared
        began = shared.clock.monotonic()
        now = shared.clock.now()
        endpoint = self._endpoints[request.path]
        key = shared.authentication.key_of(request, now)
        if not isinstance(key, ApiKey) or endpoint.scope_needed not in key.scopes:
            return None
        workspace = key.workspace
        decision = shared.gate.enter_now(workspace.id, shared.limit_of(workspace))
        if decision is None or not decision.allowed:
            return None  # who is refused has not been counted
        shared.tallies.count(ALLOWED)
        give_id(request, next(self._ids))
        request.answer_headers += self._always + decision.headers()
        sending = Sending(shared, self.observer, request, endpoint, began)
        sending.hand_over(body, workspace.id, now)
        return sending


class Sending(msgspec.Struct, eq=False):
    """A request whose events go into the log: `appending` until they are there, None if none do."""

    shared: Shared
    observer: Observer
    request: Incoming
    endpoint: EventsEndpoint
    began: float
    appending: asyncio.Future[None] | None = None
    event_ids: Sequence[str] = ()
    rejections: Sequence[Rejection] = ()
    refused: Answer | None = None

    def hand_over(self, body: Body, workspace_id: str, now: datetime) -> None:
        """Give what the body holds to the log."""
        shared = self.shared
        try:
            decoded = self.endpoint.decode(body)
            self.rejections = decoded.rejections
            self.event_ids = event_ids = shared.ids.make(len(decoded.events), now)
            if event_ids:
                records = make_records(decoded.events, event_ids, workspace_id, now)
                self.appending = asyncio.ensure_future(shared.log.append(Batch(records)))
        except Refusal as refusal:
            self.refused = refusal.answer()
        except Exception as error:  # noqa: BLE001 - it is logged there
            self.refused = fault(self.request, error)

    def end(self) -> Answer | None:
        """To be called once, when `appending` is over: the answer; None if it was cancelled."""
        answer = self.refused
        if answer is None:
            appending = self.appending
            if appending is not None and appending.cancelled():
                return None
            answer = self._answer(appending.exception() if appending is not None else None)
        self.observer.note(self.request, answer, self.began)
        return answer

    def _answer(self, error: BaseException | None) -> Answer:
        if error is None:
            self.shared.tallies.count(EVENTS_ACCEPTED, len(self.event_ids))
            return ok(self.endpoint.say(self.event_ids, self.rejections))
        if isinstance(error, Overloaded | Unavailable):
            return append_failed(error).answer()
        return fault(self.request, error)
