"""Fetching from brokers that answer as they are told."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from headrace.eventlog.kafka.connection import Brokers
from headrace.eventlog.kafka.fetching import Fetcher
from headrace.eventlog.kafka.options import KafkaOptions


class EmptyBrokers:
    """One broker that never has records; partition 1 has no leader. Counts what it is asked."""

    error_code = 0
    topics = ()

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
