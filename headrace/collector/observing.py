"""What surrounds every request: its id, its metrics, and the answer to refusals and faults.

Nothing is logged per request above DEBUG, except a fault of ours.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from itertools import count
from typing import Any, Final

import structlog

from headrace.collector.answers import BROKEN, Answer, Refusal
from headrace.collector.requests import ClientGone, Handler, Incoming, Middleware
from headrace.collector.tallies import Tallies
from headrace.runtime.clock import Clock
from headrace.runtime.metrics import REQUEST_SECONDS, REQUESTS

_TAKEN_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
_OTHER: Final = "other"

log = structlog.get_logger(__name__)


def observed(clock: Clock, tallies: Tallies, paths: Collection[str]) -> Middleware:
    """Counts and times requests. Paths not named share one label: a scanner makes no series."""
    seconds = {path: REQUEST_SECONDS.labels(path) for path in (*paths, _OTHER)}
    counts: dict[tuple[str, int], Any] = {}

    def around(handler: Handler) -> Handler:
        async def answer(request: Incoming) -> Answer:
            started = clock.monotonic()
            answer = await handler(request)
            path = request.path if request.path in seconds else _OTHER
            tallies.time(seconds[path], clock.monotonic() - started)
            counter = counts.get((path, answer.status))
            if counter is None:  # `labels` takes 1 µs
                counter = counts[path, answer.status] = REQUESTS.labels(path, answer.status)
            tallies.count(counter)
            return answer

        return answer

    return around


def identified(handler: Handler) -> Handler:
    """Gives every request an id, the client's own if it sent a good one, and says it."""
    process = secrets.token_hex(6).encode()
    numbers = count(1)

    async def answer(request: Incoming) -> Answer:
        given = request.headers.get(b"x-request-id")
        if given is None or not _TAKEN_ID.fullmatch(given):
            given = b"%s-%d" % (process, next(numbers))
        request.id = given
        request.answer_headers.append((b"x-request-id", given))
        return await handler(request)

    return answer


def excused(handler: Handler) -> Handler:
    """Turns refusals into their answers, and a fault of ours into 500 and a log entry."""

    async def answer(request: Incoming) -> Answer:
        try:
            return await handler(request)
        except Refusal as refusal:
            return refusal.answer()
        except ClientGone:
            raise
        except Exception:
            request_id = request.id.decode()
            log.exception("a request failed", path=request.path, request_id=request_id)
            message = f"a fault of ours; the log has its details under {request_id}"
            return Refusal(BROKEN, message).answer()

    return answer
