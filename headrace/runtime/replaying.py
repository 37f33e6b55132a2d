"""Rejected events through the log again, under their old ids, and what became of them.

Owns the replay from end to end: a short-lived admin key per workspace, batches to the
collector, the wait for the processor's verdict.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import groupby
from typing import Final

import msgspec

from headrace.runtime.clock import Clock
from headrace.runtime.reach import is_local
from headrace.runtime.rejects import Fate, RejectedEvent, fates
from headrace.runtime.sending.batches import Batch
from headrace.runtime.sending.delivery import Delivery, Target, UnknownKey, open_client
from headrace.runtime.sending.verdicts import Taken
from headrace.runtime.store_reader import StoreReader
from headrace.schemas.records import MAX_BODY_BYTES, MAX_EVENTS_PER_REQUEST
from headrace.workspaces.database import ControlData
from headrace.workspaces.port import Scope, Workspace

ENDPOINT: Final = "/v1/rejected/replay"
_KEY_LIFE: Final = timedelta(hours=1)
_KEY_NAME: Final = "rejected replay"
_IN_FORCE_SECONDS: Final = 1.0
"""What the node promises for changes of control data, if it has time for them."""
_PATIENCE_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.2
_ROOM: Final = MAX_BODY_BYTES - 64 * 1024


class Replayed(msgspec.Struct):
    """What became of the events that were sent through again."""

    sent: int = 0
    refused: int = 0
    """By the collector, in its answer."""
    stored: int = 0
    rejected_again: int = 0

    @property
    def open(self) -> int:
        """Neither stored nor rejected yet."""
        return self.sent - self.refused - self.stored - self.rejected_again


class _ReplayEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    event_id: str
    event: str
    timestamp: str
    received_at: str
    properties: msgspec.Raw
    user_id: str | None = None
    anonymous_id: str | None = None


class _Sent(msgspec.Struct):
    """A batch on its way, with the fates its events had before."""

    workspace_id: str
    before: dict[str, Fate]
    stored: int = 0
    rejected_again: int = 0

    @property
    def is_settled(self) -> bool:
        return self.stored + self.rejected_again >= len(self.before)

    def look(self, now: dict[str, Fate]) -> None:
        self.stored = sum(1 for fate in now.values() if fate.stored)
        self.rejected_again = sum(
            1
            for each, fate in now.items()
            if not fate.stored and fate.rows > self.before[each].rows
        )


class Replay:
    """One run of `headrace rejected replay`."""

    def __init__(
        self,
        control: ControlData,
        store: StoreReader,
        url: str,
        clock: Clock,
        *,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._control = control
        self._store = store
        self._url = url
        self._verify = verify
        self._clock = clock
        self._run = uuid.uuid4().hex
        self._sent: list[_Sent] = []
        self.result = Replayed()

    def send(self, events: Iterable[RejectedEvent], workspaces: dict[str, Workspace]) -> None:
        """Send events, which come sorted by workspace, to the collector."""
        for workspace_id, group in groupby(events, key=lambda event: event.workspace_id):
            with self._admin_key(workspaces[workspace_id]) as key:
                target = Target(self._url, key, ENDPOINT, local=is_local(self._url))
                asyncio.run(self._deliver(target, workspace_id, _in_batches(group)))

    def wait(self, seconds: float) -> Replayed:
        """Wait until every event sent is stored or rejected again, at most so long."""
        deadline = time.monotonic() + seconds
        while waiting := [sent for sent in self._sent if not sent.is_settled]:
            for sent in waiting:
                sent.look(fates(self._store, sent.workspace_id, list(sent.before)))
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        self.result.stored = sum(sent.stored for sent in self._sent)
        self.result.rejected_again = sum(sent.rejected_again for sent in self._sent)
        return self.result

    async def _deliver(
        self, target: Target, workspace_id: str, batches: Iterator[list[RejectedEvent]]
    ) -> None:
        async with open_client(1, self._verify, direct=target.local) as client:
            delivery = Delivery(client, target)
            deadline = time.monotonic() + _PATIENCE_SECONDS
            for events in batches:
                ids = [event.event_id for event in events]
                # Before: so that a rejection seen later is known to be a new one.
                before = await asyncio.to_thread(fates, self._store, workspace_id, ids)
                # A key of its own each time: what was rejected again may be sent again.
                key = f"headrace-replay-{self._run}-{len(self._sent)}"
                batch = Batch(key, [_encode(event) for event in events], list(range(len(ids))))
                for part, taken in await _insist(delivery, batch, deadline):
                    refused = {ids[part.lines[error.index]] for error in taken.errors}
                    before = {each: fate for each, fate in before.items() if each not in refused}
                    self.result.refused += len(refused)
                self.result.sent += len(ids)
                self._sent.append(_Sent(workspace_id, before))

    @contextmanager
    def _admin_key(self, workspace: Workspace) -> Iterator[str]:
        expires_at = self._clock.now() + _KEY_LIFE
        key = self._control.create_key(
            workspace, scopes=(Scope.ADMIN,), name=_KEY_NAME, expires_at=expires_at
        )
        try:
            time.sleep(_IN_FORCE_SECONDS)
            yield key
        finally:
            self._control.revoke_key(key)


async def _insist(delivery: Delivery, batch: Batch, deadline: float) -> list[tuple[Batch, Taken]]:
    """Deliver; until `deadline` a collector that does not know our new key is asked again."""
    while True:
        try:
            return await delivery.deliver(batch)
        except UnknownKey:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(_IN_FORCE_SECONDS)


def _in_batches(events: Iterable[RejectedEvent]) -> Iterator[list[RejectedEvent]]:
    batch: list[RejectedEvent] = []
    size = 0
    for event in events:
        length = 4 * len(event.properties_raw) + 1024  # a character has four bytes at most
        if batch and (len(batch) == MAX_EVENTS_PER_REQUEST or size + length > _ROOM):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += length
    if batch:
        yield batch


def _encode(event: RejectedEvent) -> bytes:
    return msgspec.json.encode(
        _ReplayEvent(
            event_id=event.event_id,
            event=event.event,
            timestamp=event.timestamp,
            received_at=event.received_at,
            properties=msgspec.Raw(event.properties_raw.encode()),
            user_id=event.user_id or None,
            anonymous_id=event.anonymous_id or None,
        )
    )
