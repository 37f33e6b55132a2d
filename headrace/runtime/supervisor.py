"""Keeps a node's programs running and stops them in order.

Owns the order (started together, stopped in reverse: the last one first) and what the outside
may know of them. How one program lives is `child.py`'s; which programs make a node is
`commands/up.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from headrace.runtime.child import Child, Program
from headrace.runtime.clock import Clock
from headrace.runtime.node_state import ProcessState


class Supervisor:
    """Runs programs until told to stop, or until one of them cannot be started at all."""

    def __init__(
        self,
        programs: Sequence[Program],
        clock: Clock,
        changed: Callable[[tuple[ProcessState, ...]], None],
    ) -> None:
        self._threads = ThreadPoolExecutor(len(programs), thread_name_prefix="wait")
        self._children = [
            Child(program, clock, lambda: changed(self.states()), self._threads)
            for program in programs
        ]
        self._hurry = asyncio.Event()

    def states(self) -> tuple[ProcessState, ...]:
        return tuple(child.state() for child in self._children)

    async def ready(self) -> None:
        """Wait until every program has been ready."""
        for child in self._children:
            await child.ready.wait()

    async def run(self, stop: asyncio.Event) -> None:
        """Keep all programs running until `stop` is set, then stop them one after the other.

        Raises `CannotStart`, after stopping the others, if one of them needs a person.
        """
        keepers = [asyncio.create_task(child.keep()) for child in self._children]
        told = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([told, *keepers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            await self._stop_all()
            results = await asyncio.gather(*keepers, return_exceptions=True)
            self._threads.shutdown()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def hurry(self) -> None:
        """Whoever has not ended by now is ended by force. Nothing is lost by it."""
        self._hurry.set()

    async def _stop_all(self) -> None:
        for child in reversed(self._children):
            await child.stop(self._hurry)
