"""The ends of partitions, asked of their leaders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from headrace.eventlog.kafka.connection import Brokers
from headrace.eventlog.kafka.driver import OffsetRequest, errors
from headrace.eventlog.kafka.errors import unanswered
from headrace.schemas.errors import Unavailable

_EARLIEST, _LATEST = -2, -1
_CLIENT: Final = -1
_UNCOMMITTED: Final = 0  # ours are no transactions, and foreign ones must not hide the end


async def read_ends(brokers: Brokers, partitions: Sequence[int]) -> Mapping[int, tuple[int, int]]:
    """Partition → `(earliest, end)`; raises `Unavailable`."""
    earliest = await _read(brokers, partitions, _EARLIEST)
    latest = await _read(brokers, partitions, _LATEST)
    return {partition: (earliest[partition], latest[partition]) for partition in partitions}


async def _read(brokers: Brokers, partitions: Sequence[int], which: int) -> Mapping[int, int]:
    topic = brokers.options.topic
    what = f"asking for the ends of topic {topic}"
    asked: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for partition in partitions:
        leader = brokers.leader(partition)
        if leader is None:
            raise Unavailable(f"{what}: partition {partition} has no leader at the moment")
        asked[leader].append((partition, which))
    found: dict[int, int] = {}
    for leader, wanted in asked.items():
        request = OffsetRequest(_CLIENT, _UNCOMMITTED, [(topic, wanted)])
        answer = await brokers.ask(request, leader, what=what)
        for _, answers in answer.topics:
            for partition, code, _, position in answers:
                error = errors.for_code(code)
                if error is not errors.NoError:
                    brokers.refresh()
                    raise unanswered(error(), what)
                found[partition] = position
    return found
