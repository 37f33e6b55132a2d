"""The processor: turns the log's records into rows, whichever partitions this process is given.

Owns the workers: one for each assignment, made when it begins and gone when it ends. What a
worker does is in `worker.py`; what makes a record settled once is in `settle.py`.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog
from structlog.contextvars import bind_contextvars

from headrace.eventlog.port import Assignment, Membership
from headrace.processor.breaker import Breaker, Tripped
from headrace.processor.erased import Erased
from headrace.processor.failpoints import FailPoint, pass_by
from headrace.processor.parts import Parts
from headrace.processor.patience import Backoff, Patience, Waits
from headrace.processor.ranges import Flush
from headrace.processor.refresher import Refresher
from headrace.processor.retention import delete_old_rows
from headrace.processor.tracing import RangeTracer
from headrace.processor.worker import Worker, pure_steps
from headrace.runtime.clock import Clock
from headrace.runtime.metrics import ASSIGNMENTS, ASSIGNMENTS_BEGUN, ASSIGNMENTS_ENDED
from headrace.schemas.taxonomy import Taxonomy
from headrace.store.port import Store

_log = structlog.get_logger(__name__)


STUCK_AFTER_SECONDS: Final = 15.0
"""A step that takes longer waits for something: the process is not ready."""


class Processor:
    """Runs a worker for every partition that `membership` assigns to this process.

    `breaker` None never stops it, `tracer` None traces nothing, `store_max_bytes` None is no bound.
    """

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
        breaker: Breaker | None = None,
        tracer: RangeTracer | None = None,
        store_max_bytes: int | None = None,
    ) -> None:
        self._membership = membership
        self._store = store
        self._clock = clock
        self._flush = flush or Flush()
        self._fail_point = fail_point
        self._backoff = backoff or Backoff()
        self._breaker = breaker or Breaker(store)
        self._tracer = tracer
        self._store_max_bytes = store_max_bytes
        self._refresher = Refresher(store, self._backoff)
        self._erased = Erased(store)
        self._steps = pure_steps(schemas, self._erased)
        self._steps_thread = ThreadPoolExecutor(1, thread_name_prefix="steps")
        self._waits = Waits(clock)
        self._held: set[int] = set()
        self._workers: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Settle records until `stop`.

        Raises what ended a worker that had to end: `LookupError` if a partition's position is
        not in its log, `Tripped` if the breaker stopped it, or a bug; and `Fenced` if another
        process has all there is to do. Every worker has ended by then, and nothing is lost.
        """
        self._refresher.start()
        beside = [
            asyncio.create_task(self._erased.follow()),
            asyncio.create_task(delete_old_rows(self._store, self._clock, self._store_max_bytes)),
        ]
        try:
            async for assignment in self._membership.assignments():
                worker = asyncio.create_task(self._own(assignment))
                self._workers.add(worker)
                worker.add_done_callback(self._workers.discard)
        finally:
            await self.stop()
            for task in beside:
                task.cancel()
            await self._refresher.stop()
            self._steps_thread.shutdown(wait=False)
            if self._failure is not None:
                raise self._failure

    async def stop(self) -> None:
        """Revoke every partition; returns when their workers have ended. May be repeated."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._membership.stop())
        await asyncio.shield(self._stopping)
        await asyncio.gather(*self._workers)

    def is_moving(self) -> bool:
        """Whether no step of any worker has been waiting for log or store for too long."""
        seconds, _ = self._waits.longest()
        return seconds <= STUCK_AFTER_SECONDS

    def is_whole(self) -> bool:
        """Whether no worker has failed (a bug, a lost log, the breaker): then it is ending."""
        return self._failure is None

    def describe_wait(self) -> str:
        """What has been waited for longest, for whoever asks why it does not move."""
        seconds, wait = self._waits.longest()
        if wait is None or seconds <= STUCK_AFTER_SECONDS:
            return "nothing"
        return f"partition {wait.partition}: {wait.step}, {seconds:.0f} s: {wait.trouble}"

    def describe_partitions(self) -> str:
        """Which partitions this process works on."""
        return ", ".join(map(str, sorted(self._held))) or "none"

    async def _own(self, assignment: Assignment) -> None:
        bind_contextvars(partition=assignment.partition)
        self._held.add(assignment.partition)
        ASSIGNMENTS_BEGUN.inc()
        ASSIGNMENTS.inc()
        how = "failed"
        try:
            how = await self._work(assignment)
        except Exception as error:  # noqa: BLE001 - the loop counts, logs and decides: stop, loudly
            if self._failure is None or not isinstance(error, Tripped):  # the others say the same
                _tell(error)
            self._failure = self._failure or error
        finally:
            ASSIGNMENTS.dec()
            ASSIGNMENTS_ENDED.labels(how).inc()
            self._held.discard(assignment.partition)
            await assignment.release()
        if self._failure is not None and self._stopping is None:
            self._stopping = asyncio.create_task(self._membership.stop())

    async def _work(self, assignment: Assignment) -> str:
        parts = Parts(
            assignment=assignment,
            store=self._store,
            clock=self._clock,
            patience=Patience(assignment.revoked, self._backoff, self._waits, assignment.partition),
            fail_point=self._fail_point,
            breaker=self._breaker,
            tracer=self._tracer,
            steps_thread=self._steps_thread,
            refresher=self._refresher,
            erased=self._erased,
        )
        return await Worker(parts, self._steps, self._flush).run()


def _tell(error: Exception) -> None:
    if isinstance(error, Tripped):
        _log.error("the breaker stopped the processor", why=str(error))
    else:
        _log.exception("a worker failed; stopping")
