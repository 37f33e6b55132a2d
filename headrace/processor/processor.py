"""The processor: turns the log's records into rows, whichever partitions this process is given.

Owns the workers: one for each assignment, made when it begins and gone when it ends. What a
worker does is in `worker.py`; what makes a record settled once is in `settle.py`.
"""

from __future__ import annotations

import asyncio

import structlog

from headrace.eventlog.port import Assignment, Membership
from headrace.processor.failpoints import FailPoint, pass_by
from headrace.processor.parts import Parts
from headrace.processor.patience import Backoff, Patience
from headrace.processor.ranges import Flush
from headrace.processor.worker import Worker, pure_steps
from headrace.runtime.clock import Clock
from headrace.schemas.taxonomy import Taxonomy
from headrace.store.port import Store

_log = structlog.get_logger(__name__)


class Processor:
    """Runs a worker for every partition that `membership` assigns to this process."""

    def __init__(
        self,
        membership: Membership,
        store: Store,
        schemas: Taxonomy,
        clock: Clock,
        flush: Flush | None = None,
        *,
        fail_point: FailPoint = pass_by,
        backoff: Backoff | None = None,
    ) -> None:
        self._membership = membership
        self._store = store
        self._clock = clock
        self._flush = flush or Flush()
        self._fail_point = fail_point
        self._backoff = backoff or Backoff()
        self._steps = pure_steps(schemas)
        self._workers: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Settle records until `stop`.

        Raises what ended a worker that had to end: `LookupError` if a partition's position is
        not in its log, or a bug; and `Fenced` if another process has all there is to do. Every
        worker has ended by then, and nothing is lost.
        """
        try:
            async for assignment in self._membership.assignments():
                worker = asyncio.create_task(self._own(assignment))
                self._workers.add(worker)
                worker.add_done_callback(self._workers.discard)
        finally:
            await self.stop()
            if self._failure is not None:
                raise self._failure

    async def stop(self) -> None:
        """Revoke every partition; returns when their workers have ended. May be repeated."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._membership.stop())
        await asyncio.shield(self._stopping)
        await asyncio.gather(*self._workers)

    async def _own(self, assignment: Assignment) -> None:
        try:
            await self._work(assignment)
        except Exception as error:  # noqa: BLE001 - the loop counts, logs and decides: stop, loudly
            _log.exception("a worker failed; stopping", partition=assignment.partition)
            self._failure = self._failure or error
        finally:
            await assignment.release()
        if self._failure is not None and self._stopping is None:
            self._stopping = asyncio.create_task(self._membership.stop())

    async def _work(self, assignment: Assignment) -> None:
        patience = Patience(assignment.revoked, self._backoff)
        parts = Parts(assignment, self._store, self._clock, patience, self._fail_point)
        await Worker(parts, self._steps, self._flush).run()
