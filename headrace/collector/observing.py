"""What surrounds every request: its id, its metrics, its trace, and the answer to refusals and
faults.

Nothing is logged per request above DEBUG, except a fault of ours. Whatever is logged while a
request is answered carries its id, and its trace if it has one (on the express way, where nothing
else is logged, a fault).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from itertools import count
from typing import Any, Final, Protocol

import structlog
from structlog.contextvars import STRUCTLOG_KEY_PREFIX, bound_contextvars

from headrace.collector.answers import BROKEN, Answer, Refusal
from headrace.collector.requests import ClientGone, Handler, Incoming, Middleware
from headrace.collector.tallies import Tallies
from headrace.runtime.clock import Clock
from headrace.runtime.metrics import REQUEST_SECONDS, REQUESTS
from headrace.schemas.records import Header

_TAKEN_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_TRACE_ID: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-")
_TRACEPARENT: Final = Header.TRACEPARENT.encode()
_OTHER: Final = "other"
# As `bind_contextvars` would make it, which takes 3 µs.
_REQUEST_ID: Final[ContextVar[str]] = ContextVar(STRUCTLOG_KEY_PREFIX + "request_id")

log = structlog.get_logger(__name__)


class Observer:
    """Counts and times requests. Paths not named share one label: a scanner makes no series."""

    def __init__(self, clock: Clock, tallies: Tallies, paths: Collection[str]) -> None:
        self._clock = clock
        self._tallies = tallies
        self._seconds = {path: REQUEST_SECONDS.labels(path) for path in (*paths, _OTHER)}
        self._metrics: dict[tuple[str, int], tuple[Any, Any]] = {}

    def note(self, request: Incoming, answer: Answer, began: float) -> None:
        """It was answered; `began` is when it came, by the clock that never goes back."""
        path = request.path if request.path in self._seconds else _OTHER
        found = self._metrics.get((path, answer.status))
        if found is None:  # `labels` takes 1 µs
            found = REQUESTS.labels(path, answer.status), self._seconds[path]
            self._metrics[path, answer.status] = found
        self._tallies.count(found[0])
        self._tallies.time(found[1], self._clock.monotonic() - began)

    def around(self, handler: Handler) -> Handler:
        """The middleware."""

        async def answer(request: Incoming) -> Answer:
            began = self._clock.monotonic()
            answer = await handler(request)
            self.note(request, answer, began)
            return answer

        return answer


class RequestSpan(Protocol):
    """A request that is recorded in a trace, until it is answered."""

    @property
    def traceparent(self) -> bytes:
        """What follows from the request names this as its parent (W3C Trace Context)."""
        ...

    def end(self, status: int | None) -> None:
        """It was answered with this status, or not at all (the client is gone, or a fault)."""
        ...


class RequestTracer(Protocol):
    """Records some requests in traces (`runtime/tracing.py`). Neither blocks nor raises."""

    def begin(self, request: Incoming) -> RequestSpan | None:
        """Part of the trace that its `traceparent` names, or of a new one; None if that trace is
        not recorded."""
        ...


def traced(tracer: RequestTracer) -> Middleware:
    """Records requests with events, and has their records carry on the trace."""

    def around(handler: Handler) -> Handler:
        async def answer(request: Incoming) -> Answer:
            span = tracer.begin(request) if request.method == "POST" else None
            if span is None:
                return await handler(request)
            request.headers[_TRACEPARENT] = span.traceparent
            status: int | None = None
            try:
                with _logged_trace(span.traceparent):
                    answer = await handler(request)
                status = answer.status
            finally:
                span.end(status)
            return answer

        return answer

    return around


def request_ids() -> Iterator[bytes]:
    """Ids for requests that bring none: this process, and a number."""
    process = secrets.token_hex(6).encode()
    return (b"%s-%d" % (process, number) for number in count(1))


def give_id(request: Incoming, given: bytes) -> None:
    """From now on this is its id, which its answer says."""
    request.id = given
    request.answer_headers += b"x-request-id: %s\r\n" % given


def identified(ids: Iterator[bytes]) -> Middleware:
    """Gives every request an id, the client's own if it sent a good one, and says it."""

    def around(handler: Handler) -> Handler:
        def answer(request: Incoming) -> Awaitable[Answer]:
            given = request.headers.get(b"x-request-id")
            if given is None or not _TAKEN_ID.fullmatch(given):
                given = next(ids)
            give_id(request, given)
            _REQUEST_ID.set(given.decode())
            trace = request.headers.get(_TRACEPARENT)
            return handler(request) if trace is None else logged(request, trace)

        async def logged(request: Incoming, trace: bytes) -> Answer:
            with _logged_trace(trace):
                return await handler(request)

        return answer

    return around


def _logged_trace(traceparent: bytes) -> AbstractContextManager[None]:
    found = _TRACE_ID.match(traceparent)
    return bound_contextvars(trace_id=found[1].decode()) if found else nullcontext()


def excused(handler: Handler) -> Handler:
    """Turns refusals into their answers, and a fault of ours into 500 and a log entry."""

    async def answer(request: Incoming) -> Answer:
        try:
            return await handler(request)
        except Refusal as refusal:
            return refusal.answer()
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - it is logged there
            return fault(request, error)

    return answer


def fault(request: Incoming, error: BaseException) -> Answer:
    """The answer to a request that failed for a reason of ours, which is logged."""
    request_id = request.id.decode()
    log.error("a request failed", path=request.path, request_id=request_id, exc_info=error)
    return Refusal(BROKEN, f"a fault of ours; the log has its details under {request_id}").answer()
