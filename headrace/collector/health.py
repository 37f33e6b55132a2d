"""Whether the collector lives, whether it is ready, and its metrics.

`/livez` answers as long as the event loop turns; `/readyz` says whether requests would be taken
now. A log that is full makes the collector not ready, but it goes on answering (503) and
recovers by itself. *Checks* decide; *remarks* tell of what may be away without harm, such as a
Redis that a local limiter stands in for. The processor answers with the same handlers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from headrace.collector.answers import NOT_READY, OK, Answer, encode, ok
from headrace.collector.requests import Handler, Incoming
from headrace.collector.tallies import Tallies
from headrace.runtime.metrics import READY

Checks = Mapping[str, Callable[[], bool]]
"""Name → whether it holds. All must, for `/readyz` to say yes; none may block."""
Remarks = Mapping[str, Callable[[], str]]
"""Name → what is to be told about it, with `?verbose` or when a check fails; none may block."""
_ALL: Final = "all"
_METRICS_TYPE: Final = CONTENT_TYPE_LATEST.encode()


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of `/livez` and `/readyz`; `checks` and `remarks` with `?verbose`, or when a
    check fails."""

    status: str
    checks: dict[str, bool] = {}
    remarks: dict[str, str] = {}


async def livez(_request: Incoming) -> Answer:
    """`GET /livez`."""
    return ok(Health("ok"))


def metrics(tallies: Tallies, checks: Checks) -> Handler:
    """`GET /metrics`, in Prometheus' text format."""

    async def answer(_request: Incoming) -> Answer:
        tallies.hand_over()
        _ask(checks)
        return Answer(OK, generate_latest(), media_type=_METRICS_TYPE)

    return answer


def readyz(checks: Checks, remarks: Remarks) -> Handler:
    """`GET /readyz`: 200 if every check holds, else 503 with what each of them says."""

    async def answer(request: Incoming) -> Answer:
        results = _ask(checks)
        ready = all(results.values())
        if ready and not request.query.startswith(b"verbose"):
            return ok(Health("ok"))
        told = {name: remark() for name, remark in remarks.items()}
        body = Health("ok" if ready else "not ready", results, told)
        return Answer(OK if ready else NOT_READY, encode(body))

    return answer


def _ask(checks: Checks) -> dict[str, bool]:
    results = {name: check() for name, check in checks.items()}
    for name, holds in results.items():
        READY.labels(name).set(holds)
    READY.labels(_ALL).set(all(results.values()))
    return results
