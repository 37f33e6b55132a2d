"""Any mixture of appends, crashes, freezes, lost commits and failures ends with a true ledger."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.eventlog.port import Committed
from headrace.processor.failpoints import Point
from headrace.processor.processor import Processor
from headrace.schemas.errors import Overloaded, Unavailable
from headrace.schemas.records import MARK_REPLAY, MARK_RETRY, EventValue
from headrace.schemas.taxonomy import Taxonomy
from tests.processor.trial import (
    LOOSE,
    NORMAL,
    POISON,
    STRICT,
    Crash,
    Freeze,
    Trial,
    crash_at,
    event_id,
    finish,
    until,
)

METHODS: Final = (
    "held_positions",
    "find_requests",
    "remember_requests",
    "remembered_requests",
    "highest_position",
    "insert_events",
    "insert_rejected",
    "insert_duplicates",
    "insert_links",
    "refresh_identities",
    "check_events",
)

events = st.one_of(
    st.tuples(st.just("click")),
    st.tuples(st.just("link"), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("purchase"), st.sampled_from([1, 5, 20]), st.integers(0, 3)),
    st.tuples(st.just("poison"), st.integers(0, 3)),
    st.tuples(st.just("junk")),
)
schemas = st.sampled_from([NORMAL, STRICT, LOOSE])
points = st.sampled_from(list(Point))
steps = st.one_of(
    st.tuples(st.just("append"), st.lists(events, min_size=1, max_size=6)),
    st.tuples(st.just("first_try"), st.integers(0, 3)),
    st.tuples(st.just("retry"), st.integers(0, 3)),
    st.tuples(st.just("replay"), st.integers(0, 30)),
    st.tuples(st.just("work"), schemas),
    st.tuples(st.just("crash"), schemas, points, st.integers(1, 3)),
    st.tuples(st.just("freeze"), schemas, points),
    st.tuples(st.just("thaw")),
    st.tuples(st.just("late"), st.sampled_from(["events", "rejected", "duplicates"])),
    st.tuples(st.just("lose"), st.booleans()),
    st.tuples(
        st.just("fail"),
        st.sampled_from(METHODS),
        st.sampled_from(["before", "after"]),
        st.sampled_from([Unavailable("gone"), Overloaded("full", retry_after=0.0)]),
        st.integers(1, 3),
    ),
    st.tuples(st.just("advance"), st.sampled_from([0.5, 5, 70, 600])),
)


class Story:
    """Takes steps; at the end everything is settled and the ledger checked."""

    def __init__(self, *, window: int, rows: int) -> None:
        self.trial = Trial(window=window, rows=rows)
        self.has_window = window > 0
        self.first_tries: set[int] = set()
        self.sent: list[EventValue] = []
        self.frozen: list[tuple[Freeze, Processor, asyncio.Task[None]]] = []

    async def take(self, step: tuple[Any, ...]) -> None:
        """One step, by its name."""
        await getattr(self, step[0])(*step[1:])

    async def append(self, kinds: list[tuple[Any, ...]]) -> None:
        made = [self.make(*kind) for kind in kinds]
        self.sent += [event for event in made if isinstance(event, EventValue)]
        await self.trial.append(*made)

    def make(self, kind: str, number: int = 0, other: int = 0) -> EventValue | bytes:
        who = {"user_id": f"u{other}", "anonymous_id": f"d{number}"}
        match kind:
            case "link":
                return self.trial.make_event(**who)
            case "purchase":
                return self.trial.purchase(number, **who)
            case "poison":
                return self.trial.make_event(properties=POISON, **who)
            case "junk":
                return b"junk"
            case _:
                return self.trial.make_event()

    def request(self, number: int) -> list[EventValue]:
        """The same events under the same ids, however often they are sent."""
        who = {"user_id": f"r{number}", "anonymous_id": f"e{number}"}
        ids = [event_id(index, request=number) for index in range(3)]
        return [
            self.trial.make_event(event_id=ids[0], **who),
            self.trial.purchase(5, event_id=ids[1], **who),
            self.trial.purchase(20, event_id=ids[2]),
        ]

    async def first_try(self, number: int) -> None:
        """Unmarked, and so at most once; it may come after its retries."""
        if number not in self.first_tries:
            self.first_tries.add(number)
            await self.trial.append(*self.request(number))

    async def retry(self, number: int) -> None:
        await self.trial.append(*self.request(number), mark=MARK_RETRY)

    async def replay(self, index: int) -> None:
        if index < len(self.sent):
            await self.trial.append(self.sent[index], mark=MARK_REPLAY)

    async def work(self, taxonomy: Taxonomy) -> None:
        await self.trial.settle(taxonomy)

    async def crash(self, taxonomy: Taxonomy, point: Point, nth: int) -> None:
        await self.trial.run_until_crash(taxonomy, at=point, nth=nth)

    async def freeze(self, taxonomy: Taxonomy, point: Point) -> None:
        """A process stops there; whoever works next takes its partition over."""
        frozen = Freeze(point)
        processor = self.trial.processor(taxonomy, frozen)
        run = asyncio.create_task(processor.run())
        await until(lambda: frozen.reached.is_set() or self.trial.is_settled())
        self.frozen.append((frozen, processor, run))

    async def thaw(self) -> None:
        """Frozen processes wake after seconds, replaced by then."""
        await self.trial.settle()
        self.trial.clock.advance(2)
        for frozen, processor, run in self.frozen:
            frozen.thawed.set()
            for _ in range(20):
                await asyncio.sleep(0)
            await finish(run, processor)
        self.frozen.clear()

    async def late(self, table: str) -> None:
        """A process dies while a block is on its way; it lands while the next one works."""
        if not self.has_window:
            return  # two faults at once: nothing remembers the token, and nothing can be seen
        await self.thaw()
        self.trial.store.late = table
        with contextlib.suppress(Crash):
            await self.trial.settle(fail_point=crash_at(Point.LINKS_INSERTED))
        self.trial.store.late = ""
        land, self.trial.store.land = self.trial.store.land, None

        async def land_now(point: Point) -> None:
            nonlocal land
            if point is Point.REMEMBERED and land is not None:
                landing, land = land, None
                await landing()

        await self.trial.settle(fail_point=land_now)

    async def lose(self, everything: bool) -> None:
        """Commits are gone, or those of long ago are back."""
        if not self.frozen:
            partition = self.trial.log.partitions[0]
            partition.committed = None if everything else Committed(1)

    async def fail(self, method: str, when: Any, error: Any, times: int) -> None:
        self.trial.store.fail(method, when, error=error, times=times)

    async def advance(self, seconds: float) -> None:
        self.trial.clock.advance(seconds)

    async def end(self) -> None:
        await self.thaw()
        await self.trial.settle()
        self.trial.check()


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # `quiet` holds for all examples
)
@given(
    story=st.lists(steps, max_size=25),
    window=st.sampled_from([1_000_000, 0]),
    rows=st.sampled_from([1, 3, 7, 100]),
)
def test_every_story_ends_with_a_true_ledger(
    story: list[tuple[Any, ...]], window: int, rows: int
) -> None:
    """Each record is in exactly one table, each id once in events, links come from events."""

    async def tell() -> None:
        told = Story(window=window, rows=rows)
        for step in story:
            await told.take(step)
        await told.end()

    asyncio.run(tell())
