"""Stopping before a mistake of ours rejects what everybody sends.

Owns the decision. The processor stops, before it writes the range in question, when of all
records received in one minute, at least `records` of them, more than `share` are rejected for
one *new* reason: a code, a schema and a path. A person then has the old version started again,
mends the schema, or lets it go on; the records wait in the log meanwhile.

*A minute* is one of the records' own (when the log took them), not of the time at which they
are processed, and what the store holds of it counts. So the decision is a function of the log
and the tables: whoever starts the processor again, at once or a day later, stops at the same
range and has written none of it, and a backlog of days is judged minute by minute.

*New* is what made up next to nothing (a tenth of `share`) of the day that ended an hour before
that minute. Who always sends bad events, however many, stops nobody; and what has been rejected
steadily for longer than an hour was seen by whoever wanted to see it.

*One workspace* that begins to send bad events is not a mistake of ours either: others whose
events of that name are stored in the same minute show that the schema is right. So the reason
must also have hit more than `share` of the workspaces that sent such events. A record that
cannot be read was written by no client, and so it needs no second witness.

Asked is only when more than `share` of a range is rejected for one reason, and the store once a
second at most. Replays do not count: they were rejected before; nor do people who were erased.
Marked retries do, for while Redis is away every request with a key is marked. What the store
refuses is known late, when the range was begun; it is judged then, and a begun range is repeated
as it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Set
from datetime import datetime, timedelta
from typing import Final, TypeVar

import msgspec

from headrace.processor.decode import decode_record
from headrace.processor.ranges import Range
from headrace.runtime.metrics import BREAKER_SHARE, BREAKER_TRIPPED
from headrace.schemas.errors import HeadraceError
from headrace.schemas.outcomes import Code, Rejected
from headrace.schemas.reasons import without_indexes
from headrace.schemas.records import EventValue, is_replay
from headrace.store.port import Outcomes, Reason, Sent, Store

KNOWN_PART: Final = 0.1
"""Of the share at which it stops: what made up so much of the day before is nothing new."""
SECOND_LOOK_SECONDS: Final = 1.0
"""Before it stops it looks again: by then is stored what others were writing."""

_ASK_AGAIN_SECONDS: Final = 1.0
_CLEARED_SECONDS: Final = 10.0
"""How long one workspace's bad events are let through before the others are looked at again."""
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(hours=24)
_MOST_REMEMBERED: Final = 64
_K = TypeVar("_K")
_V = TypeVar("_V")

Pause = Callable[[float], Awaitable[None]]
"""Waits so many seconds; raises `Revoked` if the worker is to end meanwhile."""


class Tripped(HeadraceError):
    """Most of a minute's records would be rejected for one new reason: a person decides."""


class _Part(msgspec.Struct):
    """What a range adds to a minute."""

    records: int = 0
    rejected: Counter[Reason] = msgspec.field(default_factory=Counter)


class _Look(msgspec.Struct):
    """A minute as the store saw it, and what was let through since, by partition and position."""

    asked: float
    stored: Outcomes
    since: dict[tuple[int, int], _Part] = msgspec.field(default_factory=dict)


class _Case(msgspec.Struct, frozen=True):
    """One minute of a range, most of which would be rejected for one reason."""

    range_: Range
    held: Set[int]
    minute: datetime
    part: _Part
    reason: Reason

    def events(self) -> Iterator[tuple[EventValue, Rejected | None]]:
        """Those of that minute that are in no table yet, and why not, if so."""
        for record in self.range_.records:
            if record.position in self.held or _minute(record.appended_at) != self.minute:
                continue
            value = decode_record(record.value)
            if isinstance(value, EventValue):
                yield value, self.range_.rejected.get(record.position)


class Breaker:
    """One for all workers of a process. With a `share` of 1 it does nothing."""

    def __init__(
        self,
        store: Store,
        share: float = 1.0,
        records: int = 1_000,
        *,
        second_look_seconds: float = SECOND_LOOK_SECONDS,
    ) -> None:
        self._store = store
        self._share = share
        self._records = records
        self._second_look_seconds = second_look_seconds
        self._looks: dict[datetime, _Look] = {}
        self._days: dict[datetime, Outcomes] = {}
        self._cleared: dict[tuple[datetime, Reason], float] = {}

    async def demand(self, range_: Range, held: Set[int], now: float, pause: Pause) -> None:
        """Raises `Tripped` if the range must not be written.

        `held` are positions that are in a table already, `now` is monotonic.
        """
        if not range_.rejected or self._share >= 1 or self._is_harmless(range_):
            return
        for minute, part in _parts(range_, held).items():
            for reason, count in part.rejected.items():
                if count > self._share * part.records:
                    await self._judge(_Case(range_, held, minute, part, reason), now, pause)

    def _is_harmless(self, range_: Range) -> bool:
        """What most ranges with a bad event in them are, told at a glance."""
        records = range_.records
        is_one_minute = _minute(records[0].appended_at) == _minute(records[-1].appended_at)
        return is_one_minute and len(range_.rejected) <= self._share * len(records)

    async def _judge(self, case: _Case, now: float, pause: Pause) -> None:
        if not await self._is_near(case, now) or self._is_cleared(case, now):
            return
        usual = _share_of(await self._day_before(case.minute), case.reason)
        if usual >= KNOWN_PART * self._share:
            return
        await pause(self._second_look_seconds)
        stored = await self._ask(case.minute)
        if not self._is_too_bad(stored, [case.part], case.reason):
            return
        if not await self._is_everybodys(case):
            _remember(self._cleared, (case.minute, case.reason), now)
            return
        BREAKER_TRIPPED.set(1)
        raise Tripped(_explain(case, stored, usual))

    async def _is_near(self, case: _Case, now: float) -> bool:
        """Whether the minute might be too bad, by what was known a second ago."""
        look = self._looks.get(case.minute)
        if look is None or now - look.asked > _ASK_AGAIN_SECONDS:
            look = _Look(now, await self._ask(case.minute))
            _remember(self._looks, case.minute, look)
        look.since[case.range_.partition, case.range_.first] = case.part
        return self._is_too_bad(look.stored, look.since.values(), case.reason)

    def _is_cleared(self, case: _Case, now: float) -> bool:
        at = self._cleared.get((case.minute, case.reason))
        return at is not None and now - at < _CLEARED_SECONDS

    async def _ask(self, minute: datetime) -> Outcomes:
        return await self._store.count_outcomes(minute, minute + _MINUTE)

    def _is_too_bad(self, stored: Outcomes, parts: Iterable[_Part], reason: Reason) -> bool:
        records, rejected = stored.settled, stored.rejected.get(reason, 0)
        for part in parts:
            records += part.records
            rejected += part.rejected[reason]
        BREAKER_SHARE.set(rejected / records)
        return records >= self._records and rejected > self._share * records

    async def _day_before(self, minute: datetime) -> Outcomes:
        until = minute.replace(minute=0) - _HOUR
        if until not in self._days:
            _remember(self._days, until, await self._store.count_outcomes(until - _DAY, until))
        return self._days[until]

    async def _is_everybodys(self, case: _Case) -> bool:
        """Whether most workspaces that sent such events in that minute are hit."""
        if case.reason.code == Code.UNREADABLE_RECORD:
            return True
        event, until = _event_of(case), case.minute + _MINUTE
        senders = await self._store.count_senders(case.reason, event, case.minute, until)
        for value, why in case.events():
            if event in ("", value.event):
                sent = senders.setdefault(value.workspace_id, Sent())
                sent.stored += why is None
                sent.rejected += why is not None and _reason(why) == case.reason
        bad = [one.rejected > self._share * (one.stored + one.rejected) for one in senders.values()]
        return sum(bad) > self._share * len(bad)


def _parts(range_: Range, held: Set[int]) -> Mapping[datetime, _Part]:
    parts: defaultdict[datetime, _Part] = defaultdict(_Part)
    for record in range_.records:
        if record.position in held:
            continue
        part = parts[_minute(record.appended_at)]
        part.records += 1
        why = range_.rejected.get(record.position)
        if why is not None and why.code is not Code.ERASED and not is_replay(record.headers):
            part.rejected[_reason(why)] += 1
    return parts


def _event_of(case: _Case) -> str:
    """The event that has the reason's schema; empty if it has none."""
    if not case.reason.schema:
        return ""
    return next(
        value.event for value, why in case.events() if why and why.schema == case.reason.schema
    )


def _explain(case: _Case, stored: Outcomes, usual: float) -> str:
    reason = case.reason
    records = stored.settled + case.part.records
    share = (stored.rejected.get(reason, 0) + case.part.rejected[reason]) / records
    of = " ".join(filter(None, [reason.code, reason.schema, reason.path]))
    return (
        f"{share:.0%} of the {records:,} records received in the minute from "
        f"{case.minute:%Y-%m-%dT%H:%MZ} are rejected for one new reason ({of}); of the day before "
        f"it were {usual:.1%}. The processor stops before it writes more of them, and nothing is "
        "lost: they wait in the log. If a change of schemas or of the program did it, take that "
        "back or mend it, and start the processor again. If they are to be rejected, run it with "
        "HEADRACE_BREAKER_SHARE=1 until it has caught up."
    )


def _reason(why: Rejected) -> Reason:
    return Reason(why.code.value, why.schema, without_indexes(why.path))


def _minute(time: datetime) -> datetime:
    return time.replace(second=0, microsecond=0)


def _share_of(outcomes: Outcomes, reason: Reason) -> float:
    return outcomes.rejected.get(reason, 0) / max(1, outcomes.settled)


def _remember(memory: dict[_K, _V], key: _K, value: _V) -> None:
    memory[key] = value
    while len(memory) > _MOST_REMEMBERED:
        del memory[next(iter(memory))]
