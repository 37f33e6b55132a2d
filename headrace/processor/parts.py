"""What a worker is given."""

from __future__ import annotations

from concurrent.futures import Executor

import msgspec

from headrace.eventlog.port import Assignment
from headrace.processor.breaker import Breaker
from headrace.processor.failpoints import FailPoint
from headrace.processor.patience import Patience
from headrace.processor.refresher import Refresher
from headrace.processor.tracing import RangeTracer
from headrace.runtime.clock import Clock
from headrace.store.port import Store


class Parts(msgspec.Struct, frozen=True):
    """One partition, what surrounds it, and how to wait for that."""

    assignment: Assignment
    store: Store
    clock: Clock
    patience: Patience
    fail_point: FailPoint
    breaker: Breaker
    tracer: RangeTracer | None
    steps_thread: Executor
    refresher: Refresher
