"""The express way: requests like many before them, all that came at once step by step.

Owns which requests go it. What is done to them is what is done on the long way (`observing.py`,
`intake.py`, `events.py`), by the same parts in the same order. But what came in one turn of the
event loop is taken together: everybody's key and limit, then everybody's events, then everybody's
records; so each step finds its code and its data in the processor's caches, where a request that
goes its way alone finds those of the step before. And no coroutine waits for a body that is there.
That is half of what a single event costs.

Whatever is odd about a request is decided on the long way: it is sent there before anything of it
has been counted but its key's use, and begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final, Protocol

import msgspec

from headrace.collector.answers import Answer, Refusal, Rejection, ok
from headrace.collector.bodies import USUAL_TYPES
from headrace.collector.decode import Event
from headrace.collector.events import EventsEndpoint
from headrace.collector.gate import LocalGate
from headrace.collector.heads import NEW_EVERY_TIME
from headrace.collector.intake import ALLOWED, Shared, append_failed
from headrace.collector.observing import Observer, fault, give_id
from headrace.collector.records import make_records
from headrace.collector.requests import Incoming
from headrace.eventlog.port import Batch
from headrace.runtime.metrics import EVENTS_ACCEPTED
from headrace.schemas.errors import Overloaded, Unavailable
from headrace.workspaces.port import ApiKey

_LONG: Final = NEW_EVERY_TIME | {b"content-encoding", b"origin"}
"""Headers that ask for something that only the long way does."""


class Sender(Protocol):
    """A connection, to the express way. One of the two is called for each `put`."""

    def go_long_way(self, body: bytes) -> None:
        """Its request must go the long way, from the beginning."""
        ...

    def let_in(self, sending: Sending) -> None:
        """Its request is taken, and its events are handed to the log: see `Express.end`."""
        ...


class Sending(msgspec.Struct, eq=False):
    """A request whose events go into the log: `appending` until they are there, None if none do.

    What is held meanwhile is what the body became, in the log's hands; its bytes count as held.
    """

    sender: Sender
    request: Incoming
    endpoint: EventsEndpoint
    body: bytes
    body_bytes: int = 0
    began: float = 0.0
    workspace_id: str = ""
    events: Sequence[Event] = ()
    rejections: Sequence[Rejection] = ()
    event_ids: Sequence[str] = ()
    appending: asyncio.Future[None] | None = None
    refused: Answer | None = None

    def fail(self, error: Exception) -> None:
        """Nothing of it goes into the log."""
        refused = error.answer() if isinstance(error, Refusal) else fault(self.request, error)
        self.refused = refused


class Express:
    """The endpoints that take events, to requests that are whole. Neither blocks nor raises.

    `ids` are the same iterator as the long way's, `always` is what every answer carries.
    """

    def __init__(
        self,
        shared: Shared,
        gate: LocalGate,
        endpoints: Iterable[EventsEndpoint],
        observer: Observer,
        *,
        ids: Iterator[bytes],
        always: bytes = b"",
    ) -> None:
        self._shared = shared
        self._gate = gate
        self._observer = observer
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._ids = ids
        self._always = always
        self._came: list[Sending] = []

    def takes(self, request: Incoming) -> bool:
        """Whether nothing in its head is odd; what is true of one is true of all alike."""
        headers = request.headers
        return (
            request.method == "POST"
            and request.path in self._endpoints
            and headers.get(b"content-type", b"") in USUAL_TYPES
            and _LONG.isdisjoint(headers)
        )

    def put(self, sender: Sender, request: Incoming, body: bytes) -> None:
        """Take a request that `takes` took, with its whole body: in a moment, with all others
        that come in this turn of the event loop."""
        if not self._came:
            asyncio.get_running_loop().call_soon(self._take_all)
        self._came.append(Sending(sender, request, self._endpoints[request.path], body))

    def end(self, sending: Sending) -> Answer | None:
        """The answer, to be asked for once, when `appending` is over; None if it was cancelled."""
        self._shared.budget.change(-sending.body_bytes)
        answer = sending.refused
        if answer is None:
            appending = sending.appending
            if appending is not None and appending.cancelled():
                return None
            error = appending.exception() if appending is not None else None
            answer = self._ended(sending, error)
        self._observer.note(sending.request, answer, sending.began)
        return answer

    def _ended(self, sending: Sending, error: BaseException | None) -> Answer:
        if error is None:
            event_ids = sending.event_ids
            self._shared.tallies.count(EVENTS_ACCEPTED, len(event_ids))
            return ok(sending.endpoint.say(event_ids, sending.rejections))
        if isinstance(error, Overloaded | Unavailable):
            return append_failed(error).answer()
        return fault(sending.request, error)

    def _take_all(self) -> None:
        came, self._came = self._came, []
        now = self._shared.clock.now()
        going = self._let_in(came, now)
        self._decode(going)
        self._append(going, now)
        for sending in going:
            sending.sender.let_in(sending)

    def _let_in(self, came: Sequence[Sending], now: datetime) -> list[Sending]:
        """Those with a good key and below their limit; the others go the long way."""
        began = self._shared.clock.monotonic()
        going = []
        for sending in came:
            try:
                is_let_in = self._is_let_in(sending, now)
            except Exception:  # noqa: BLE001 - it comes again there, and is told
                is_let_in = False
            if is_let_in:
                sending.began = began
                going.append(sending)
            else:
                sending.sender.go_long_way(sending.body)
        self._shared.tallies.count(ALLOWED, len(going))
        return going

    def _is_let_in(self, sending: Sending, now: datetime) -> bool:
        """If not, nothing was counted: who is refused is not."""
        shared, request = self._shared, sending.request
        key = shared.authentication.key_of(request, now)
        if not isinstance(key, ApiKey) or sending.endpoint.scope_needed not in key.scopes:
            return False
        size = len(sending.body)
        if not shared.budget.has_room(size):
            return False
        workspace = key.workspace
        decision = self._gate.enter_now(workspace.id, shared.limit_of(workspace))
        if not decision.allowed:
            return False
        shared.budget.change(size)
        sending.body_bytes = size
        give_id(request, next(self._ids))
        request.answer_headers += self._always + decision.headers()
        sending.workspace_id = workspace.id
        return True

    def _decode(self, going: Sequence[Sending]) -> None:
        for sending in going:
            try:
                decoded = sending.endpoint.decode(sending.body)
            except Exception as error:  # noqa: BLE001 - it is said, and logged if it is ours
                sending.fail(error)
            else:
                sending.events, sending.rejections = decoded.events, decoded.rejections
            sending.body = b""

    def _append(self, going: Sequence[Sending], now: datetime) -> None:
        """Records first, all of them, then the appends: the log's steps are its own."""
        ids = self._shared.ids.make(sum([len(sending.events) for sending in going]), now)
        batches = []
        first = 0
        for sending in going:
            events = sending.events
            if events:
                end = first + len(events)
                sending.event_ids, first = ids[first:end], end
                sending.events = ()
                try:
                    records = make_records(events, sending.event_ids, sending.workspace_id, now)
                except Exception as error:  # noqa: BLE001 - it is logged
                    sending.fail(error)
                else:
                    batches.append((sending, Batch(records)))
        append = self._shared.log.append
        for sending, batch in batches:
            try:
                sending.appending = append(batch)
            except Exception as error:  # noqa: BLE001 - it is logged
                sending.fail(error)
