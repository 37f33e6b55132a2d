"""What is done for so many events, counted: a change that does more of it is seen here, and a busy
machine is not."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from benchmarks.requests import batches
from headrace.collector.decode import read_batch
from headrace.collector.event_ids import UlidMaker
from headrace.collector.records import make_records
from headrace.eventlog.port import Batch, NewRecord
from headrace.eventlog.sqlite.chunk import make_chunk, pack
from tests.eventlog.test_kafka_sending import ToldLink, appending_on, options_of, take
from tests.processor.trial import Trial

MANY = 1_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
(REQUEST,) = batches("key", 1, MANY)
BODY = REQUEST.partition(b"\r\n\r\n")[2]


def records() -> list[NewRecord]:
    events = read_batch(BODY).events
    return make_records(events, UlidMaker().make(len(events), NOW), "ws", NOW)


def test_objects_of_an_event() -> None:
    """Held at once between a body and its records: six of the event, three of its record."""
    records()  # whatever is made once
    before = sys.getallocatedblocks()
    events = read_batch(BODY).events
    decoded = sys.getallocatedblocks()
    made = make_records(events, UlidMaker().make(len(events), NOW), "ws", NOW)
    recorded = sys.getallocatedblocks()
    assert len(made) == MANY
    assert (decoded - before) / MANY < 6.2
    assert (recorded - decoded) / MANY < 4.2


async def test_requests_to_the_broker() -> None:
    """One for a batch over all partitions, and one more for all that came meanwhile."""
    link = ToldLink(options_of(), 12, take)
    async with appending_on(link, options_of()) as appender:
        await appender.append(Batch(records()))
        (sent,) = link.sent
        assert len(sent[1]) == 12
        link.sent.clear()
        await _all_at_once(appender.append, 50)
        assert len(link.sent) <= 3


def test_bytes_of_an_event_in_the_local_log() -> None:
    """Those of one batch are much alike."""
    body = make_chunk(Batch(records())).body
    assert len(pack(body)) / MANY < 120 < len(body) / MANY


async def test_questions_and_blocks_of_a_range() -> None:
    """Unmarked events cost the store one block, their links another, and no question."""
    trial = Trial(rows=MANY)
    await trial.append(*(trial.make_event(user_id="u", anonymous_id="d") for _ in range(MANY)))
    await trial.append(trial.make_event())
    await trial.settle()
    trial.check()
    trial.store.calls.clear()
    await trial.append(*(trial.make_event(user_id="v", anonymous_id="e") for _ in range(MANY)))
    await trial.settle()
    trial.check()
    writes = [call for call in trial.store.calls if call.startswith("insert_")]
    assert writes == ["insert_events", "insert_links"]
    assert "find_requests" not in trial.store.calls


async def _all_at_once(append: Callable[[Batch], Awaitable[None]], count: int) -> None:
    singles = [Batch([NewRecord(b"%d" % number, b"v")]) for number in range(count)]
    await asyncio.gather(*(append(single) for single in singles))
