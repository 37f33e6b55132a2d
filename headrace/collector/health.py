"""Whether the collector lives, whether it is ready, and its metrics.

`/livez` answers as long as the event loop turns; `/readyz` says whether requests would be taken
now. A log that is full makes the collector not ready, but it goes on answering (503) and
recovers by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from headrace.collector.answers import NOT_READY, OK, Answer, encode, ok
from headrace.collector.requests import Handler, Incoming
from headrace.collector.tallies import Tallies

Checks = Mapping[str, Callable[[], bool]]
_METRICS_TYPE: Final = CONTENT_TYPE_LATEST.encode()


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of `/livez` and `/readyz`; `checks` with `?verbose`, or when one fails."""

    status: str
    checks: dict[str, bool] = {}


async def livez(_request: Incoming) -> Answer:
    """`GET /livez`."""
    return ok(Health("ok"))


def metrics(tallies: Tallies) -> Handler:
    """`GET /metrics`, in Prometheus' text format."""

    async def answer(_request: Incoming) -> Answer:
        tallies.hand_over()
        return Answer(OK, generate_latest(), media_type=_METRICS_TYPE)

    return answer


def readyz(checks: Checks) -> Handler:
    """`GET /readyz`: 200 if every check holds, else 503 with what each of them says."""

    async def answer(request: Incoming) -> Answer:
        results = {name: check() for name, check in checks.items()}
        ready = all(results.values())
        verbose = request.scope["query_string"].startswith(b"verbose")
        body = Health("ok" if ready else "not ready", results if verbose or not ready else {})
        return Answer(OK if ready else NOT_READY.status, encode(body))

    return answer
