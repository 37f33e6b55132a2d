"""Fetching from brokers that answer as they are told."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from headrace.eventlog.kafka.connection import Brokers
from headrace.eventlog.kafka.encoding import encode, pack, pack_headers
from headrace.eventlog.kafka.fetching import Fetcher
from headrace.eventlog.kafka.options import KafkaOptions
from headrace.eventlog.port import NewRecord

RECORDS = encode([pack([NewRecord(b"k", b"v")], pack_headers({}), 0)], (1, 0, 0), 0, "none")


class EmptyBrokers:
    """One broker that never has records; partition 1 has no leader. Counts what it is asked."""

    error_code = 0
    topics: Any = ()

    def __init__(self) -> None:
        self.options = KafkaOptions(brokers=("nowhere:1",))
        self.client = self
        self.fetches = 0
        self.looks = 0

    def leader(self, partition: int) -> int | None:
        self.looks += partition == 1
        return None if partition == 1 else 1

    async def send(self, _node: int, _request: Any, *, group: str) -> EmptyBrokers:
        self.fetches += 1
        await asyncio.sleep(0.01)
        return self


async def test_a_partition_without_leader_is_asked_for_no_more_often_as_time_goes_by() -> None:
    """Every fetch of another partition wakes the loop, and none sets a timer that stays."""
    brokers = EmptyBrokers()
    fetcher = Fetcher(cast("Brokers", brokers), b"t" * 16, lambda: None)
    for partition in range(2):
        fetcher.attach(partition).seek(0)
    running = asyncio.create_task(fetcher.run())
    await asyncio.sleep(1.2)
    running.cancel()
    await asyncio.wait([running])
    assert brokers.fetches > 10
    assert brokers.looks <= brokers.fetches + 10


LAST = 99


class MovedBrokers(EmptyBrokers):
    """One broker that leads the last partition only, and is asked for others all the same."""

    def leader(self, partition: int) -> int | None:
        return 1

    def refresh(self) -> None:
        pass

    async def send(self, _node: int, request: Any, *, group: str) -> EmptyBrokers:
        found = await super().send(_node, request, group=group)
        asked = sorted(partition for partition, _ in request._starts)
        self.topics = [
            (b"t", [(each, 6 * (each != LAST), 0, 0, 0, [], 0, RECORDS, {}) for each in asked], {})
        ]
        return found


async def test_partitions_that_moved_do_not_hold_up_those_that_did_not() -> None:
    """However many the broker refuses: there is one pause for all of them, not 0.2 s for each."""
    brokers = MovedBrokers()
    fetcher = Fetcher(cast("Brokers", brokers), b"t" * 16, lambda: None)
    buffers = [fetcher.attach(partition) for partition in range(LAST + 1)]
    for buffer in buffers:
        buffer.seek(0)
    running = asyncio.create_task(fetcher.run())
    async with asyncio.timeout(10):
        await buffers[-1].changed.wait()
    assert [record.value for record in await buffers[-1].take(1, 100)] == [b"v"]
    assert buffers[0].trouble
    async with asyncio.timeout(10):
        while brokers.fetches < 2:  # noqa: ASYNC110 - nobody is there who could set an event
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
