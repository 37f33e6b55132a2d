"""Clients that send batches to a node while it is being killed, and keep account.

Owns what counts as accepted: an answer of 200 was read to its end. Keyed requests without an
answer are repeated until there is one; unkeyed ones are not, and may or may not be there.
"""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any, Final

import httpx2

BATCH: Final = 20


class Traffic:
    """Sends from `start` until `stop`; then the account is complete."""

    def __init__(self, url: str, key: str, *, keyed: int = 4, unkeyed: int = 2) -> None:
        self.accepted: dict[str, int] = {}
        """Event id → the number that the event carries."""
        self.unknown: set[int] = set()
        """Numbers of events whose unkeyed request had no answer."""
        self.unavailable = 0
        self._url = f"{url}/v1/batch/events"
        self._key = key
        self._clients = [True] * keyed + [False] * unkeyed
        self._numbers = itertools.count()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._send(name, keyed)) for name, keyed in enumerate(self._clients)
        ]

    async def stop(self) -> None:
        """Let every client bring its request to an end."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def _send(self, client: int, keyed: bool) -> None:
        headers = {"Authorization": f"Bearer {self._key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=20.0) as http:
            for request in itertools.count():
                if self._stopping.is_set():
                    return
                numbers = list(itertools.islice(self._numbers, BATCH))
                body = {"events": [_event(number) for number in numbers]}
                if keyed:
                    await self._until_answered(http, body, numbers, f"{client}-{request}")
                elif not await self._try(http, body, numbers, {}):
                    self.unknown.update(numbers)
                await asyncio.sleep(0.005)

    async def _until_answered(
        self, http: httpx2.AsyncClient, body: Any, numbers: list[int], key: str
    ) -> None:
        while True:
            if await self._try(http, body, numbers, {"Idempotency-Key": key}):
                return
            await asyncio.sleep(0.05)

    async def _try(
        self, http: httpx2.AsyncClient, body: Any, numbers: list[int], headers: dict[str, str]
    ) -> bool:
        try:
            answer = await http.post(self._url, json=body, headers=headers)
        except httpx2.TransportError:
            return False
        if answer.status_code in {409, 503}:  # still running; no room or unknown: ask again
            self.unavailable += 1
            return False
        assert answer.status_code == 200, answer.text
        ids = answer.json()["event_ids"]
        assert len(ids) == len(numbers), answer.text
        self.accepted.update(zip(ids, numbers, strict=True))
        return True


def _event(number: int) -> dict[str, Any]:
    return {
        "event": "kill_test",
        "user_id": f"user-{number % 97}",
        "timestamp": datetime.now(UTC).isoformat(),
        "properties": {"number": number},
    }
