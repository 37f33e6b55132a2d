"""What a worker is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import ParamSpec, TypeVar

import msgspec

from headrace.eventlog.port import Assignment
from headrace.processor.breaker import Breaker
from headrace.processor.erased import Erased
from headrace.processor.failpoints import FailPoint
from headrace.processor.patience import Patience
from headrace.processor.refresher import Refresher
from headrace.processor.tracing import RangeTracer
from headrace.runtime.clock import Clock
from headrace.store.port import Store

_P = ParamSpec("_P")
_R = TypeVar("_R")


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
    erased: Erased

    async def aside(self, call: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Run what takes long in the one thread for it; the event loop is everybody's."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.steps_thread, partial(call, *args, **kwargs))
