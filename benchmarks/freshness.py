"""How soon an event is a row: from the collector's answer to the first query that shows it.

`python -m benchmarks.freshness [events per second] [seconds]`: a whole node (`headrace up`) takes
events at a steady rate, in batches of a tenth of a second. One of every so many is looked for by
asking the store again and again, the same number a second at any rate, so that asking costs the
same. What is measured includes the asking: half of the time between two questions on average. At
the end every accepted event must be in the table once. `benchmarks/kafka.py` uses the same.

Then events come one by one, two a second. Then the same as at first, and beside it devices that
were anonymous log in, four a second: from the answer to the event with both ids to the first query
in which the earlier event is the user's.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Final

import httpx2
from clickhouse_connect.driver.client import Client

from benchmarks.programs import (
    HEADRACE,
    Place,
    operator,
    prepared_home,
    running,
    wait_until_ready,
)
from benchmarks.report import Line, report
from benchmarks.requests import make_event

RATE: Final = 10_000
SECONDS: Final = 20
WATCHED: Final = 500
"""Events a second that are looked for."""
_BATCHES: Final = 10
"""Requests a second."""
_PATIENCE_SECONDS: Final = 60
_NAME: Final = "fresh"
_ALONE: Final = 40
"""Events."""
_LINKED: Final = "logged_in_later"
_LINK_SECONDS: Final = 0.25
_LOOK_SECONDS: Final = 0.2
"""Between two looks at links: each costs the store as much as a person's query."""


def look(
    client: Client,
    sql: str,
    answered: Mapping[str, float],
    seen: dict[str, float],
    is_over: Callable[[], bool],
    *,
    pause_seconds: float,
) -> None:
    """Ask again and again, noting when each name in the answer was seen first, until nothing is
    sent any more and all that was answered is there; not for ever."""
    deadline = None
    while not (is_over() and len(seen) >= len(answered)):
        if is_over() and deadline is None:
            deadline = time.monotonic() + _PATIENCE_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            return
        rows = client.query(sql).result_rows
        now = time.monotonic()
        for (name,) in rows:
            seen.setdefault(name, now)
        time.sleep(pause_seconds)


class Freshness:
    """Sends at a steady rate and asks the store for what has arrived."""

    def __init__(self, place: Place, rate: int, seconds: int) -> None:
        self._place = place
        self._rate = rate
        self._total = rate * seconds
        self._step = max(1, rate // WATCHED)
        self._chance = Random(9)
        self._answered: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._is_sent = False

    async def run(self) -> list[float]:
        """Seconds from answer to row of every event that was watched, shortest first."""
        looking = asyncio.create_task(asyncio.to_thread(self._look))
        await self._send()
        self._is_sent = True
        await looking
        assert self._seen.keys() == self._answered.keys(), "some were not found in time"
        return sorted(self._seen[each] - at for each, at in self._answered.items())

    async def _send(self) -> None:
        url = f"http://127.0.0.1:{self._place.port}/v1/batch/events"
        headers = {"Authorization": f"Bearer {self._place.key}"}
        size, number = self._rate // _BATCHES, 0
        async with httpx2.AsyncClient(headers=headers, timeout=20) as client:
            began = time.monotonic()
            while number < self._total:
                body = {"events": [self._event(number + each) for each in range(size)]}
                answer = await client.post(url, json=body)
                now = time.monotonic()
                assert answer.status_code == 200, answer.text
                watched = answer.json()["event_ids"][:: self._step]
                self._answered.update(dict.fromkeys(watched, now))
                number += size
                await asyncio.sleep(max(0.0, began + number / self._rate - now))

    def _event(self, number: int) -> dict[str, object]:
        event = make_event(number, self._chance)
        is_watched = number % (self._rate // _BATCHES) % self._step == 0
        return event | {"event": _NAME} if is_watched else event

    def _look(self) -> None:
        client = operator(self._place)
        sql = (
            f"SELECT event_id FROM events_rows WHERE event = '{_NAME}' "
            "AND received_at > now() - INTERVAL 10 SECOND"
        )
        look(client, sql, self._answered, self._seen, lambda: self._is_sent, pause_seconds=0.02)
        self._count(client, time.monotonic() + _PATIENCE_SECONDS)
        client.close()

    def _count(self, client: Client, deadline: float) -> None:
        counted: list[int] = [0]
        while counted[0] < self._total and time.monotonic() < deadline:
            sql = f"SELECT count(), uniqExact(event_id) FROM events_rows WHERE event != '{_LINKED}'"
            counted = list(client.query(sql).result_rows[0])
        assert counted == [self._total] * 2, counted


class Links:
    """Devices that log in one after the other, until told to end."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._answered: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._is_sent = False

    async def run(self, load: asyncio.Task[list[float]]) -> list[float]:
        """Seconds from a link's answer to earlier events that are right, shortest first."""
        looking = asyncio.create_task(asyncio.to_thread(self._look))
        try:
            await self._send(load)
        finally:
            self._is_sent = True  # not before: the last link is sent after the load's end
        await looking
        assert self._seen.keys() == self._answered.keys(), "some links do not count"
        return sorted(self._seen[each] - at for each, at in self._answered.items())

    async def _send(self, load: asyncio.Task[list[float]]) -> None:
        url = f"http://127.0.0.1:{self._place.port}/v1/events"
        headers = {"Authorization": f"Bearer {self._place.key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=20) as client:
            while not load.done():
                device = f"linked-{len(self._answered)}"
                event = {"event": _LINKED, "anonymous_id": device}
                event["timestamp"] = datetime.now(UTC).isoformat()
                (await client.post(url, json=event)).raise_for_status()
                await asyncio.sleep(_LINK_SECONDS)
                event["user_id"] = f"user-of-{device}"
                (await client.post(url, json=event)).raise_for_status()
                self._answered[device] = time.monotonic()

    def _look(self) -> None:
        client = operator(self._place)
        sql = (
            f"SELECT anonymous_id FROM events WHERE event = '{_LINKED}' AND user_id = '' "
            "AND person_id = concat('user-of-', anonymous_id)"
        )
        look(
            client,
            sql,
            self._answered,
            self._seen,
            lambda: self._is_sent,
            pause_seconds=_LOOK_SECONDS,
        )
        client.close()


async def alone(place: Place) -> list[float]:
    """Seconds from answer to row of events that come one by one, shortest first."""
    url, client = f"http://127.0.0.1:{place.port}/v1/events", operator(place)
    chance, found = Random(4), []
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {place.key}"}) as sender:
        for number in range(_ALONE):
            answer = (await sender.post(url, json=make_event(number, chance))).raise_for_status()
            answered = time.monotonic()
            sql = f"SELECT 1 FROM events_rows WHERE event_id = '{answer.json()['event_id']}'"
            while not client.query(sql).result_rows:
                assert time.monotonic() - answered < _PATIENCE_SECONDS
            found.append(time.monotonic() - answered)
            await asyncio.sleep(0.3 + 0.3 * chance.random())
    client.close()
    return sorted(found)


def fresh_lines(what: str, fresh: list[float], goal: str) -> list[Line]:
    """Median and 99th percentile."""
    return [
        Line(f"{what}: p50", fresh[len(fresh) // 2] * 1e3, "ms"),
        Line(f"{what}: p99", fresh[int(len(fresh) * 0.99)] * 1e3, "ms", goal=goal),
    ]


async def under_load(place: Place, rate: int, seconds: int) -> list[float]:
    """Of links, while events come at that rate."""
    load = asyncio.create_task(Freshness(place, rate, seconds).run())
    linked = await Links(place).run(load)
    await load
    return linked


@contextlib.contextmanager
def node() -> Iterator[Place]:
    """A new one that is ready."""
    with prepared_home() as place:
        url = f"http://127.0.0.1:{place.port}/readyz"
        with running([HEADRACE, "up"], place.environment, url=url):
            wait_until_ready(place)
            yield place


def main() -> None:
    """Measure and report."""
    rate = int(sys.argv[1]) if len(sys.argv) > 1 else RATE
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    with node() as place:
        fresh = asyncio.run(Freshness(place, rate, seconds).run())
    with node() as place:
        single = asyncio.run(alone(place))
    with node() as place:
        linked = asyncio.run(under_load(place, rate, seconds))
    what = f"link to person_id at {rate:,} events/s"
    lines = [
        *fresh_lines(f"answer to row at {rate:,} events/s", fresh, "< 300"),
        *fresh_lines("answer to row of an event that comes alone", single, "< 300"),
        Line(f"{what}: p50", linked[len(linked) // 2] * 1e3, "ms"),
        Line(f"{what}: longest", linked[-1] * 1e3, "ms", goal="< 2,000"),
    ]
    report("freshness", lines)


if __name__ == "__main__":
    main()
