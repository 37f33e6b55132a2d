"""The way of a request through the collector, up to the body.

Owns the order key → rate limit → size, and the one place where a refusal becomes an answer.
What happens to the body is the endpoints' (`events.py`, `replay.py`); they end in `append`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from typing import Any, ClassVar, Final

import msgspec

from headrace.collector.answers import (
    LIMITED,
    OVERLOADED,
    UNAVAILABLE,
    Answer,
    Refusal,
    Rejection,
    retry_after,
)
from headrace.collector.authentication import Authentication, check_scope
from headrace.collector.bodies import Budget, Held
from headrace.collector.event_ids import UlidMaker
from headrace.collector.gate import Entry, Gate
from headrace.collector.limiting import WINDOW_SECONDS, Decision
from headrace.collector.requests import Incoming
from headrace.collector.tallies import Tallies
from headrace.eventlog.port import Appender
from headrace.runtime.clock import Clock
from headrace.runtime.metrics import EVENTS_REFUSED, LIMITER_DECISIONS
from headrace.schemas.errors import Overloaded, Unavailable
from headrace.schemas.records import Header
from headrace.workspaces.port import ApiKey, Scope, Workspace

LARGE_BYTES: Final = 1024 * 1024
"""A body of more than this is decoded aside."""

_TRACEPARENT_BYTES: Final = 55
_UNAVAILABLE_RETRY_SECONDS: Final = 2
ALLOWED: Final = LIMITER_DECISIONS.labels("allowed")


class Shared(msgspec.Struct, frozen=True):
    """What all endpoints that take events work with."""

    log: Appender
    gate: Gate
    authentication: Authentication
    budget: Budget
    ids: UlidMaker
    tallies: Tallies
    clock: Clock
    executor: Executor
    requests_per_minute: int

    def limit_of(self, workspace: Workspace) -> int:
        """Requests a minute."""
        return workspace.requests_per_minute or self.requests_per_minute

    async def aside(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run what takes long in the one thread for it: other requests get their turns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, function, *arguments)


class Endpoint:
    """One way to send events."""

    name: ClassVar[str]
    scope_needed: ClassVar[Scope]

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    async def answer(self, request: Incoming) -> Answer:
        """The handler: everything up to the body, then `take`."""
        shared = self.shared
        key = shared.authentication.key_of(request, shared.clock.now())
        if isinstance(key, Refusal):
            await shared.authentication.hold_back(request, key)
            return key.answer()  # raised, it would be a cycle for the garbage collector
        limit = shared.limit_of(key.workspace)
        try:
            check_scope(key, self.scope_needed)
        except Refusal:
            seen = await shared.gate.look(key.workspace.id, limit)
            request.answer_headers += seen.headers()
            raise
        entry = await shared.gate.enter(
            key.workspace.id,
            limit,
            key=self.claims(request, key.workspace.id),
            dry_run=key.workspace.rate_limit_dry_run,
        )
        try:
            request.answer_headers += entry.decision.headers()
            self._check(entry.decision, key.workspace)
            with shared.budget.hold() as held:
                return await self.take(request, key, held, entry)
        except (Overloaded, Unavailable) as error:
            raise append_failed(error) from error
        finally:
            if entry.key is not None:
                shared.gate.leave(entry)

    def claims(self, _request: Incoming, _workspace_id: str) -> bytes | None:
        """The hash of the request's idempotency key, where the endpoint knows such."""
        return None

    async def take(self, request: Incoming, key: ApiKey, held: Held, entry: Entry) -> Answer:
        """Everything from the body on; what it weighs is counted in `held`.

        An append that fails ends it: `Overloaded` and `Unavailable` become the answer.
        """
        raise NotImplementedError

    def _check(self, decision: Decision, workspace: Workspace) -> None:
        if decision.allowed:
            self.shared.tallies.count(ALLOWED)
        elif workspace.rate_limit_dry_run:
            LIMITER_DECISIONS.labels("would_refuse").inc()
        else:
            LIMITER_DECISIONS.labels("refused").inc()
            raise Refusal(
                LIMITED,
                f"the workspace's limit of {decision.limit:,} requests in any {WINDOW_SECONDS} "
                f"seconds is reached; retry in {decision.seconds} s, or send more events per "
                "request",
                headers=retry_after(decision.seconds),
            )


def append_failed(error: Overloaded | Unavailable) -> Refusal:
    """What a failed append is to the client: 503."""
    if isinstance(error, Overloaded):
        return Refusal(
            OVERLOADED,
            f"nothing was stored: {error}; retry",
            headers=retry_after(error.retry_after),
        )
    return Refusal(
        UNAVAILABLE,
        f"whether it was stored is unknown: {error}; retry, best with an Idempotency-Key",
        headers=retry_after(_UNAVAILABLE_RETRY_SECONDS),
    )


def count_refused(rejections: Iterable[Rejection]) -> None:
    """Count the elements of a batch that are refused in its answer."""
    for rejection in rejections:
        EVENTS_REFUSED.labels(rejection.code).inc()


def record_headers(request: Incoming) -> Mapping[str, bytes]:
    """What the records of a request carry of it: its trace."""
    trace = request.headers.get(b"traceparent")
    return {Header.TRACEPARENT: trace} if trace and len(trace) == _TRACEPARENT_BYTES else {}
