"""The collector's side of the log on Kafka: records of concurrent requests, batch by batch.

Owns the life of the way to the brokers: made in the background, made anew after any trouble, and
probed while nobody appends. What waits is in `waiting.py`, what is sent in `link.py`.

No append outlives its deadline by more than a moment, no byte outlives its append, and `stop`
waits for nobody long: a broker that is frozen, gone or slow costs answers, not memory. An append
that ends without success says whether any of it may be stored (`Unavailable`) or surely is not
(`Overloaded`); a batch that an abandoned link delivers late is found by the ids in it, as any
retry's is.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from headrace.eventlog.kafka.errors import RETRY_SECONDS, describe
from headrace.eventlog.kafka.link import Link, is_retried
from headrace.eventlog.kafka.options import KafkaOptions
from headrace.eventlog.kafka.waiting import Append, Lane, Waiting
from headrace.eventlog.port import Batch, KeyRecord
from headrace.runtime.clock import Clock
from headrace.schemas.errors import Overloaded, Unavailable

_MOMENT_SECONDS: Final = 0.005
_SEVERAL: Final = 3
_GATHER_SECONDS: Final = 0.001
"""Where so many appends went with the last request, more will come at once, from those whom its
answer sends on: together they cost a fifth less than in two requests that take turns."""
_PAUSE_SECONDS: Final = 0.3
_BACKOFF_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 2.0
_WATCH_SECONDS: Final = 0.25
_STOP_SECONDS: Final = 3.0
_NO_ANSWER: Final = RuntimeError()
_log = structlog.get_logger(__name__)


class _Broken(Exception):
    """The link is over, for the reason in the message."""


class KafkaAppender:
    """The port's `Appender` on one topic. Keeps no keys: `recall` never finds any."""

    def __init__(self, options: KafkaOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting = Waiting(0, options.max_waiting_bytes)
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._link: Link | None = None
        self._log_id = ""
        self._is_writable = False
        self._why_not = ""
        self._is_stopped = False
        self._running: asyncio.Task[None] = self._loop.create_task(self._run())
        self._ending: asyncio.Task[None] = self._loop.create_task(self._end_late())

    @classmethod
    def open(cls, options: KafkaOptions, clock: Clock) -> KafkaAppender:
        """An appender that connects in the background; needs a running loop, and no broker."""
        return cls(options, clock)

    @property
    def log_id(self) -> str:
        """The topic's id; empty until the topic was seen."""
        return self._log_id

    def append(self, batch: Batch, *, key_record: KeyRecord | None = None) -> asyncio.Future[None]:  # noqa: ARG002 - for logs that keep keys
        expires_at = self._loop.time() + self._options.append_seconds
        future = self._loop.create_future()
        try:
            self._demand_open()
            if not batch.records:
                future.set_result(None)
            elif self._link is None:
                return self._loop.create_task(self._append_once_connected(batch, expires_at))
            else:
                self._hand_over(batch, self._link, Append(future, expires_at))
        except Overloaded as error:
            # Its trace holds this frame and the batch, the frame the future, and the future it.
            future.set_exception(error.with_traceback(None))
        return future

    async def _append_once_connected(self, batch: Batch, expires_at: float) -> None:
        link = await self._connected(expires_at)
        append = Append(self._loop.create_future(), expires_at)
        self._hand_over(batch, link, append)
        await append.future

    def _hand_over(self, batch: Batch, link: Link, append: Append) -> None:
        self._waiting.add(batch, append, link.max_batch_bytes)
        self._wake.set()

    async def recall(self, key: bytes, now: datetime) -> KeyRecord | None:  # noqa: ARG002 - the port's
        return None

    async def keys_since(self) -> datetime:
        """Now: a log that keeps no keys proves nothing about any."""
        return self._clock.now()

    def is_writable(self) -> bool:
        return self._is_writable and not self._is_stopped

    async def stop(self) -> None:
        self._is_stopped = True
        deadline = self._loop.time() + _STOP_SECONDS
        while self._link is not None and not self._waiting.is_empty:
            if self._loop.time() > deadline or not self._is_writable:
                break
            await asyncio.sleep(_MOMENT_SECONDS)
        for task in (self._running, self._ending):
            task.cancel()
            await asyncio.wait([task])
        self._waiting.fail_all("the collector is stopping, and Kafka did not answer in time")

    def _demand_open(self) -> None:
        if self._is_stopped:
            raise Overloaded("the log is closed; the collector is stopping")
        if self._link is None and self._why_not:
            raise Overloaded(self._why_not, retry_after=RETRY_SECONDS)

    async def _connected(self, deadline: float) -> Link:
        """Wait for the first try to connect, or for one that nothing speaks against yet."""
        while self._link is None:
            await asyncio.sleep(_MOMENT_SECONDS)
            self._demand_open()
            if self._loop.time() > deadline:
                raise Overloaded("Kafka does not answer", retry_after=RETRY_SECONDS)
        return self._link

    async def _end_late(self) -> None:
        """End appends that take too long; a timer for each cost a tenth of single events' CPU."""
        reason = f"Kafka did not confirm it within {self._options.append_seconds:g} s"
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self._waiting.end_late(self._loop.time(), reason):
                self._is_writable = False

    # The way to the brokers

    async def _run(self) -> None:
        # A task group whose task has just failed swallows a cancellation, so that is not enough.
        while not self._is_stopped:
            try:
                await self._use(await Link.open(self._options))
                continue
            except Unavailable as error:
                self._note_trouble(str(error))
            except Exception as error:  # noqa: BLE001 - the loop decides: log, and try again
                reason = f"the way to Kafka failed: {error!r}"
                if reason != self._why_not:
                    _log.exception("the way to Kafka failed")
                self._note_trouble(reason)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _use(self, link: Link) -> None:
        """Serve until there is trouble, then leave nothing of the link behind."""
        reason = "the collector is stopping"
        self._begin(link)
        try:
            await self._serve(link)
        except* _Broken as broken:
            reason = str(broken.exceptions[0])
            self._note_trouble(reason)
        finally:
            self._link = None
            link.abort()
            self._waiting.fail_outgoing(reason)
            self._waiting.drop_over()

    def _begin(self, link: Link) -> None:
        if len(self._waiting.lanes) != len(link.topic.leaders):
            self._waiting.fail_all("the topic was made anew")
            self._waiting = Waiting(len(link.topic.leaders), self._options.max_waiting_bytes)
        if link.topic.log_id != self._log_id or self._why_not:
            _log.info("the log is ready", topic=self._options.topic, log_id=link.topic.log_id)
        self._link = link
        self._log_id = link.topic.log_id
        self._is_writable, self._why_not = True, ""

    def _note_trouble(self, reason: str) -> None:
        if reason != self._why_not:
            _log.warning("the log cannot be written", topic=self._options.topic, why=reason)
        self._is_writable, self._why_not = False, reason

    async def _serve(self, link: Link) -> None:
        """Send what comes until there is trouble; raises it."""
        async with asyncio.TaskGroup() as tasks:
            # The group cancels the others when one ends in an error, and waits for them.
            tasks.create_task(self._watch())
            tasks.create_task(self._look(link))
            tasks.create_task(self._send_all(link, tasks))

    async def _send_all(self, link: Link, tasks: asyncio.TaskGroup) -> None:
        busy: set[int] = set()
        loaded: set[int] = set()
        while True:
            await self._wake.wait()
            if loaded and self._waiting.is_small:
                await asyncio.sleep(_GATHER_SECONDS)
            self._wake.clear()
            ready = self._ready(link, busy)
            loaded &= busy
            for node, lanes in ready.items():
                busy.add(node)
                if _appends_of(lanes) >= _SEVERAL:
                    loaded.add(node)
                sending = tasks.create_task(self._send(link, node, lanes))
                sending.add_done_callback(partial(self._sent, busy, node, lanes))

    def _sent(
        self, busy: set[int], node: int, lanes: Sequence[Lane], _: asyncio.Task[None]
    ) -> None:
        busy.discard(node)
        for lane in lanes:
            lane.is_busy = False
        self._wake.set()

    def _wake_later(self) -> None:
        """One timer at a time: each of them wakes, and whoever wakes would set another."""
        if self._timer is None or self._timer.when() <= self._loop.time():
            self._timer = self._loop.call_later(_BACKOFF_SECONDS, self._wake.set)

    def _ready(self, link: Link, busy: set[int]) -> dict[int, list[Lane]]:
        """Lanes whose next batch can go, by leader; their batches are made here."""
        ready: dict[int, list[Lane]] = defaultdict(list)
        now = self._loop.time()
        timestamp_ms = int(self._clock.now().timestamp() * 1000)
        for lane in self._waiting.lanes:
            if lane.is_busy or not (lane.outgoing or lane.parts):
                continue
            node = link.leader(lane.partition)
            if node is None:
                self._wake_later()
            elif node not in busy:
                if lane.outgoing is None:
                    parts = self._waiting.take(lane, link.max_batch_bytes)
                    if not parts:
                        continue
                    link.pack(lane, parts, timestamp_ms, now)
                lane.is_busy = True
                ready[node].append(lane)
        return ready

    async def _send(self, link: Link, node: int, lanes: Sequence[Lane]) -> None:
        found = await link.send(node, lanes)
        for lane in lanes:
            if found.get(lane.partition, _NO_ANSWER) is None:
                self._stored(lane)
        refusals = [error for error in found.values() if error is not None]
        for error in refusals:
            if not is_retried(error):
                raise _Broken(f"topic {self._options.topic}: {describe(error)}")
        if refusals:
            link.refresh()
            await asyncio.sleep(_BACKOFF_SECONDS)

    def _stored(self, lane: Lane) -> None:
        outgoing, lane.outgoing = lane.outgoing, None
        assert outgoing is not None
        self._is_writable = True
        for part in outgoing.parts:
            part.append.part_stored()
            self._waiting.let_go(part)

    async def _watch(self) -> None:
        """Raises when a batch is on its way for longer than any append waits."""
        limit = self._options.append_seconds + 2 * _WATCH_SECONDS
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            oldest = min(
                (lane.outgoing.first_sent_at for lane in self._waiting.lanes if lane.outgoing),
                default=self._loop.time(),
            )
            if self._loop.time() - oldest > limit:
                raise _Broken(f"Kafka did not confirm records within {limit:.0f} s")

    async def _look(self, link: Link) -> None:
        """Raises when the topic is another one; notices, too, that nobody answers."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                change = await link.look()
            except Unavailable:
                self._is_writable = False
            else:
                if change:
                    raise _Broken(change)
                if self._waiting.is_empty:
                    self._is_writable = True


def _appends_of(lanes: Sequence[Lane]) -> int:
    """How many appends have a part in the lanes' batches."""
    return len({part.append for lane in lanes if lane.outgoing for part in lane.outgoing.parts})
