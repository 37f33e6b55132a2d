"""Clients of several collectors, which keep account of every event while things die.

Owns what counts as accepted: an answer of 200 was read to its end. Keyed requests are repeated,
at whichever collector, until there is an answer; unkeyed ones are not, and what had no answer of
200 may or may not be there, but never twice. `account.py` compares with the tables.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import httpx2

from tests.scenarios.cluster import Cluster

ANSWER_SECONDS: Final = 20.0
"""The clients' own limit; the collector promises an answer in ten."""
_AGAIN: Final = {409, 503}
"""Still running; no room or not known: the same request again."""


class Load:
    """Sends from `start` until `stop`; then the account is complete."""

    def __init__(
        self,
        urls: Sequence[str],
        key: str,
        *,
        keyed: int = 3,
        unkeyed: int = 2,
        batch: int = 10,
        pause_seconds: float = 0.03,
        first: int = 0,
        seed: int = 0,
        make: Callable[[int], dict[str, Any]] | None = None,
    ) -> None:
        self.accepted: dict[str, int] = {}
        """Event id → the number that the event carries."""
        self.unknown: set[int] = set()
        """Numbers of events that nobody was told of, and that may be there."""
        self.answers: Counter[str] = Counter()
        """How requests ended: a status, or why there was none."""
        self.refusal = ""
        """What the last answer that was no success said."""
        self.slowest_seconds = 0.0
        self.without_retry_after = 0
        self.urls = list(urls)
        self.key = key
        self._clients = [True] * keyed + [False] * unkeyed
        self._batch = batch
        self._make = make or make_event
        self._pause_seconds = pause_seconds
        self._random = random.Random(seed)
        self._name = f"{self._random.randrange(1 << 32):08x}"
        self._numbers = itertools.count(first)
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    # life

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._send(client, keyed))
            for client, keyed in enumerate(self._clients)
        ]

    async def stop(self, seconds: float = 60.0) -> None:
        """Let every client bring its request to an end."""
        self._stopping.set()
        _, waiting = await asyncio.wait(self._tasks, timeout=seconds)
        await self.give_up()
        assert not waiting, f"{len(waiting)} clients have no answer yet: {self.answers}"
        for task in self._tasks:
            task.result()
        assert self.accepted, f"nothing was accepted: {self.answers}"

    async def give_up(self) -> None:
        """End every client where it is."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_more(self, seconds: float = 60.0) -> None:
        """Return when something more was accepted, by a request begun from now on."""
        before = self._accepted_requests + len(self._clients)
        await self._until(lambda: self._accepted_requests > before, "more is accepted", seconds)

    def merge(self, other: Load) -> None:
        """Take over another load's account; it must have begun with another number."""
        self.accepted |= other.accepted
        self.unknown |= other.unknown

    async def until_any_answer(self, seconds: float = 60.0) -> None:
        """Return when one more request ended in whatever way."""
        before = self.answers.total()
        await self._until(lambda: self.answers.total() > before, "an answer", seconds)

    async def until_answer(self, answer: str, seconds: float = 60.0) -> None:
        """Return when one more request ended so."""
        before = self.answers[answer]
        await self._until(lambda: self.answers[answer] > before, f"an answer {answer}", seconds)

    @property
    def _accepted_requests(self) -> int:
        return self.answers["200"]

    async def _until(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            for task in self._tasks:
                if task.done() and task.exception() is not None:
                    task.result()
            assert time.monotonic() < deadline, (
                f"{what}: waited in vain; {self.answers} {self.refusal}"
            )
            await asyncio.sleep(0.02)

    # one client

    async def _send(self, client: int, keyed: bool) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=ANSWER_SECONDS) as http:
            for request in itertools.count():
                if self._stopping.is_set():
                    return
                numbers = list(itertools.islice(self._numbers, self._batch))
                body = {"events": [self._make(number) for number in numbers]}
                if keyed:
                    await self._insist(http, body, numbers, f"{self._name}-{client}-{request}")
                elif not await self._try(http, body, numbers, {}):
                    self.unknown.update(numbers)
                await asyncio.sleep(self._pause_seconds)

    async def _insist(
        self, http: httpx2.AsyncClient, body: Any, numbers: list[int], key: str
    ) -> None:
        while True:
            if await self._try(http, body, numbers, {"Idempotency-Key": key}):
                return
            await asyncio.sleep(0.1)

    async def _try(
        self, http: httpx2.AsyncClient, body: Any, numbers: list[int], headers: dict[str, str]
    ) -> bool:
        url = f"{self._random.choice(self.urls)}/v1/batch/events"
        began = time.monotonic()
        try:
            answer = await http.post(url, json=body, headers=headers)
        except httpx2.TransportError as error:
            self.answers[type(error).__name__] += 1
            return False
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        self.answers[str(answer.status_code)] += 1
        if answer.status_code in _AGAIN:
            self.refusal = answer.text
            self.without_retry_after += "retry-after" not in answer.headers
            return False
        assert answer.status_code == 200, answer.text
        self._account(answer, numbers)
        return True

    def _account(self, answer: httpx2.Response, numbers: list[int]) -> None:
        ids = answer.json()["event_ids"]
        assert len(ids) == len(numbers), answer.text
        for event_id, number in zip(ids, numbers, strict=True):
            assert self.accepted.setdefault(event_id, number) == number, "an id was given twice"


class Again:
    """One keyed request that is sent again and again, at all collectors."""

    def __init__(self, urls: Sequence[str], key: str, *, first: int) -> None:
        self.accepted: dict[str, int] = {}
        self._urls = urls
        self._numbers = list(range(first, first + 20))
        self._body = {"events": [make_event(number) for number in self._numbers]}
        self._headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": f"again-{first}"}

    async def send(self) -> None:
        """Once to each collector, until it answers; the ids must always be the same."""
        async with httpx2.AsyncClient(headers=self._headers, timeout=ANSWER_SECONDS) as http:
            for url in self._urls:
                ids = await self._insist(http, f"{url}/v1/batch/events")
                answered = dict(zip(ids, self._numbers, strict=True))
                assert self.accepted in ({}, answered), "another try, other ids"
                self.accepted = answered

    async def send_at_once(self, times: int) -> None:
        """So many at the same time over all collectors, then again: one wins, and all who are
        told ids are told the winner's."""
        async with httpx2.AsyncClient(headers=self._headers, timeout=ANSWER_SECONDS) as http:
            urls = itertools.islice(itertools.cycle(self._urls), times)
            answers = await asyncio.gather(
                *(http.post(f"{url}/v1/batch/events", json=self._body) for url in urls),
                return_exceptions=True,
            )
        await self.send()
        for answer in answers:
            if isinstance(answer, httpx2.TransportError):
                continue
            assert isinstance(answer, httpx2.Response), repr(answer)
            assert answer.status_code in {200, *_AGAIN}, answer.text
            if answer.status_code == 200:
                assert answer.json()["event_ids"] == list(self.accepted), "two winners"

    async def _insist(self, http: httpx2.AsyncClient, url: str) -> list[str]:
        for _ in range(100):
            with contextlib.suppress(httpx2.TransportError):
                answer = await http.post(url, json=self._body)
                if answer.status_code not in _AGAIN:
                    assert answer.status_code == 200, answer.text
                    return list(answer.json()["event_ids"])
            await asyncio.sleep(0.1)
        raise AssertionError(f"{url} does not accept")


@contextlib.asynccontextmanager
async def loaded(
    cluster: Cluster, chosen: random.Random, **options: Any
) -> AsyncIterator[tuple[str, Load]]:
    """Load on a cluster for as long as the block lasts: a new workspace's id, and the load."""
    name = f"load-{uuid.uuid4().hex[:12]}"  # a seed that is repeated must not repeat names
    workspace, key = await asyncio.to_thread(cluster.workspace, name)
    options = {"urls": cluster.urls, "seed": chosen.randrange(1 << 32), **options}
    load = Load(key=key, **options)
    load.start()
    try:
        yield workspace.id, load
    except BaseException:
        await load.give_up()
        raise
    await load.stop()


def flooding(number: int) -> dict[str, Any]:
    """One of a flood: all of them are one device's, and so of one partition."""
    return make_event(number) | {"user_id": None, "anonymous_id": "one-device"}


def make_event(number: int) -> dict[str, Any]:
    """An event of one of ten kinds: one of them is rejected by its schema, one links somebody."""
    event = {
        "event": "scenario",
        "user_id": f"user-{number % 97}",
        "timestamp": datetime.now(UTC).isoformat(),
        "properties": {"number": number, "tenth": number % 10},
    }
    match number % 10:
        case 3:
            event |= {"event": "purchase", "properties": {"number": number, "currency": "euro"}}
        case 7:
            event |= {"anonymous_id": f"device-{number % 97}"}
    return event
