"""The local log against a plain list: whatever is done in whatever order, they agree."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.eventlog.port import Assignment, Batch, Committed, NewRecord
from headrace.eventlog.sqlite.membership import SqliteMembership
from tests.eventlog.adapters import PATIENCE_SECONDS, SqliteLogUnderTest, read, until

T = TypeVar("T")
records = st.tuples(st.binary(max_size=20), st.binary(max_size=3000))
batches = st.lists(records, max_size=6)


class LogAgainstList(RuleBasedStateMachine):
    """`values[n]` is the record at position n + 1."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.run(self.start())
        self.values: list[tuple[bytes, bytes]] = []
        self.starts: list[int] = []
        self.together: list[int] = []
        self.committed: Committed | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    async def start(self) -> None:
        self.log = SqliteLogUnderTest(self.folder)
        await self.join()

    async def join(self) -> None:
        self.member = SqliteMembership(self.log.log, self.log.positions, self.log.clock)
        self.assignments = aiter(self.member.assignments())
        self.assignment: Assignment = await anext(self.assignments)

    async def leave(self) -> None:
        await self.assignment.release()
        await self.member.stop()
        await anext(self.assignments, None)

    @property
    def end(self) -> int:
        return len(self.values) + 1

    @rule(appended=st.lists(batches, max_size=4))
    def append(self, appended: list[list[tuple[bytes, bytes]]]) -> None:
        async def append_together() -> None:
            # One after the other is handed over, all before the first is stored.
            new = [Batch([NewRecord(key, value) for key, value in batch]) for batch in appended]
            await asyncio.gather(*map(self.log.appender.append, new))

        self.together.append(self.end)
        self.run(append_together())
        for batch in appended:
            if batch:
                self.starts.append(self.end)
            self.values += batch

    @rule(
        chosen=st.integers(0, 1_000), max_records=st.integers(1, 10), max_bytes=st.integers(1, 9000)
    )
    def read(self, chosen: int, max_records: int, max_bytes: int) -> None:
        # What is settled goes when the log comes to it: no choice may depend on what is there.
        earliest, end = self.run(self.assignment.ends())
        position = earliest + chosen % (end - earliest + 1)
        expected = self.values[position - 1 : position - 1 + max_records]
        try:
            found = self.run(
                read(
                    self.assignment,
                    position,
                    max_records=max_records,
                    max_bytes=max_bytes,
                    wait_seconds=PATIENCE_SECONDS if expected else 0.01,
                )
            )
        except LookupError:
            assert position < self.settled
            assert position < self.run(self.assignment.ends())[0]
            return
        assert [(r.key, r.value) for r in found] == expected[: len(found)]
        assert [r.position for r in found] == list(range(position, position + len(found)))
        assert bool(found) == bool(expected)
        if found and len(found) < len(expected):
            held_bytes = sum(len(k) + len(v) for k, v in expected[: len(found) + 1])
            assert held_bytes > max_bytes

    @rule(data=st.data(), is_pending=st.booleans())
    def commit(self, data: st.DataObject, is_pending: bool) -> None:
        position = data.draw(st.integers(self.settled, self.end))
        pending_to = self.end - 1 if is_pending and position < self.end else None
        self.committed = Committed(position, pending_to)
        self.run(self.assignment.commit(self.committed))

    @precondition(lambda self: self.committed is not None)
    @rule()
    def retain(self) -> None:
        # A batch is kept while a record is not settled of it, or of those it shares a row with,
        # which can be any that were appended together with it.
        highest = max([s for s in [*self.starts, self.end] if s <= self.settled], default=1)
        lowest = max([s for s in [*self.together, self.end] if s <= self.settled], default=1)

        async def is_retained() -> bool:
            return lowest <= (await self.assignment.ends())[0] <= highest

        self.run(until(is_retained))

    @rule()
    def restart_collector(self) -> None:
        self.run(self.log.restart_appender())

    @rule()
    def restart_processor(self) -> None:
        self.run(self.leave())
        self.run(self.join())

    @property
    def settled(self) -> int:
        return self.committed.position if self.committed is not None else 1

    @invariant()
    def agrees_on_ends_and_commit(self) -> None:
        earliest, end = self.run(self.assignment.ends())
        assert end == self.end
        assert earliest <= self.settled
        assert self.run(self.assignment.committed()) == self.committed

    def teardown(self) -> None:
        self.run(self.leave())
        self.run(self.log.stop())
        self.runner.close()
        shutil.rmtree(self.folder)


TestLogAgainstList = LogAgainstList.TestCase
TestLogAgainstList.settings = settings(
    max_examples=50,
    stateful_step_count=20,
    deadline=None,  # retention has its own pace
    suppress_health_check=[HealthCheck.too_slow],
)
