"""An import from end to end: a thread reads and maps, workers deliver, everything is bounded.

Owns the composition `source → batches → queue → workers → summary`.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Final

import msgspec

from headrace.runtime.sending.batches import Batch, make_batches
from headrace.runtime.sending.delivery import Backoff, Delivery, Target, open_client
from headrace.runtime.sending.mapping import Fields, Mapper
from headrace.runtime.sending.progress import Watch
from headrace.runtime.sending.source import Source
from headrace.runtime.sending.summary import Summary
from headrace.runtime.sending.verdicts import Taken
from headrace.schemas.records import MAX_EVENTS_PER_REQUEST

_READ_AHEAD: Final = 2
"""Batches mapped before a worker asks for them."""


class Options(msgspec.Struct, frozen=True):
    """How an import is sent; the mapping and the batch size decide the keys, nothing else."""

    fields: Fields = Fields()
    batch_size: int = MAX_EVENTS_PER_REQUEST
    concurrency: int = 4
    compress: bool = False
    backoff: Backoff = Backoff()


async def send_all(
    source: Source,
    target: Target,
    options: Options,
    summary: Summary,
    watch: Watch,
    *,
    verify: ssl.SSLContext | bool = True,
) -> None:
    """Deliver every event of the source, counting in `summary` as answers come.

    Raises `SendingEnded` or `DamagedSource`; what was counted until then has been sent.
    """
    started = time.monotonic()
    mapper = Mapper(options.fields)
    batches = _Ahead(make_batches(source, mapper, summary, batch_size=options.batch_size))
    try:
        async with open_client(options.concurrency, verify, direct=target.local) as client:
            delivery = Delivery(
                client,
                target,
                compress=options.compress,
                backoff=options.backoff,
                notice=watch.notice,
            )
            await _run_workers(batches, delivery, options.concurrency, summary, watch)
        batches.check()
    finally:
        batches.stop()
        summary.seconds = time.monotonic() - started


async def _run_workers(
    batches: _Ahead, delivery: Delivery, count: int, summary: Summary, watch: Watch
) -> None:
    async def work() -> None:
        async for batch in batches:
            for part, taken in await delivery.deliver(batch):
                _count(summary, part, taken)
                watch.batch_done(part)

    workers = [asyncio.create_task(work()) for _ in range(count)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _count(summary: Summary, batch: Batch, taken: Taken) -> None:
    summary.accepted += taken.accepted
    summary.replayed += taken.accepted if taken.replayed else 0
    for error in taken.errors:
        line = batch.lines[error.index] if error.index < len(batch.lines) else 0
        summary.note_rejected(error.code, error.reason, line)


class _Ahead(AsyncIterator[Batch]):
    """Batches made in a thread of its own, a few ahead; any number of tasks may take them.

    A daemon thread, not the loop's pool: a read of standard input cannot be interrupted, and
    the pool would be waited for at the end.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._loop = asyncio.get_running_loop()
        self._room = threading.Semaphore(_READ_AHEAD)
        self._ready: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._trouble: Exception | None = None
        self._stopped = False
        threading.Thread(target=self._read, name="headrace-send-reader", daemon=True).start()

    async def __anext__(self) -> Batch:
        batch = await self._ready.get()
        if batch is None:
            self._ready.put_nowait(None)  # for the other workers
            raise StopAsyncIteration
        self._room.release()
        return batch

    def check(self) -> None:
        """Raise what ended the reading early, if anything did."""
        if self._trouble:
            raise self._trouble

    def stop(self) -> None:
        """Read no further."""
        self._stopped = True
        self._room.release()

    def _read(self) -> None:
        try:
            for batch in self._batches:
                self._room.acquire()
                if self._stopped:
                    return
                self._hand_over(batch)
        except Exception as error:  # noqa: BLE001 - raised again by check()
            self._trouble = error
        self._hand_over(None)

    def _hand_over(self, batch: Batch | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ready.put_nowait, batch)
