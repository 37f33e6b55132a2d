"""How far the log that is set has been filled and settled, for `headrace ledger`.

Owns that the ends of the local log and of a Kafka topic are told in the same words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from headrace.runtime.home import Home
from headrace.runtime.ledger import LogEnds
from headrace.runtime.settings import Settings

_FIRST_LOCAL: Final = 1
_FIRST_IN_KAFKA: Final = 0


def read_log_ends(settings: Settings) -> Sequence[LogEnds]:
    """Every partition of the log; none if there is no log yet. Raises `Unavailable`."""
    return _local(Home(settings.home)) if settings.has_local_log else asyncio.run(_kafka(settings))


def _local(home: Home) -> Sequence[LogEnds]:
    from headrace.eventlog.sqlite.inspect import inspect_log

    state = inspect_log(home.log, home.positions)
    if state is None:
        return []
    return [
        LogEnds(
            log_id=state.log_id,
            partition=0,
            first=_FIRST_LOCAL,
            earliest=state.earliest,
            committed=state.settled,
            end=state.end,
        )
    ]


async def _kafka(settings: Settings) -> Sequence[LogEnds]:
    from headrace.eventlog.kafka.topic import inspect_group, inspect_topic
    from headrace.runtime.kafka import kafka_options

    options = kafka_options(settings)
    topic = await inspect_topic(options)
    return [
        LogEnds(
            log_id=topic.topic_id,
            partition=each.partition,
            first=_FIRST_IN_KAFKA,
            earliest=each.earliest,
            committed=each.committed,
            end=each.end,
        )
        for each in sorted(await inspect_group(options), key=lambda each: each.partition)
    ]
