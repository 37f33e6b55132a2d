"""The account at the end of every scenario: what was accepted against what the tables hold.

Owns the comparison. None missing, none twice, nothing that nobody sent; and every position of the
log in exactly one table.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Final

import msgspec

from tests.scenarios.cluster import Cluster
from tests.scenarios.load import Load

SETTLED_SECONDS: Final = 300.0
"""Kafka's group coordinator was seen to answer nothing for three minutes after its broker was
killed (docs/soak/README.md); everything else is through in seconds."""
_EVENTS: Final = """
SELECT event_id, JSONExtractInt(properties_raw, 'number')
FROM (
    SELECT workspace_id, event_id, properties_raw FROM events
    UNION ALL
    SELECT workspace_id, event_id, properties_raw FROM rejected_events WHERE NOT replayed
) WHERE workspace_id = {workspace:String}"""
_LEDGER: Final = """
SELECT log_id, log_partition, count(), uniqExact(log_position), max(log_position) + 1
FROM (
    SELECT log_id, log_partition, log_position FROM events
    UNION ALL SELECT log_id, log_partition, log_position FROM rejected_events
    UNION ALL SELECT log_id, log_partition, log_position FROM deduplicated_events
) GROUP BY log_id, log_partition"""
_TOTALS: Final = """
SELECT (SELECT count() FROM events WHERE workspace_id = {workspace:String}),
       (SELECT count() FROM rejected_events WHERE workspace_id = {workspace:String}),
       (SELECT count() FROM deduplicated_events WHERE workspace_id = {workspace:String})"""


class Account(msgspec.Struct):
    """What became of the events of one load."""

    accepted: int
    unknown: int
    stored: int
    rejected: int
    deduplicated: int
    missing: list[str]
    """Ids that were accepted and are in no table."""
    doubled: list[str]
    """Ids that are in the tables more than once."""
    strange: list[int]
    """Numbers under two ids, under an id that was not given, or that nobody sent."""

    @property
    def is_true(self) -> bool:
        return not (self.missing or self.doubled or self.strange)

    def __str__(self) -> str:
        return (
            f"{self.accepted:,} accepted, {self.unknown:,} not known to their clients; "
            f"{self.stored:,} stored, {self.rejected:,} rejected, {self.deduplicated:,} "
            f"deduplicated; {len(self.missing)} missing {self.missing[:3]}, "
            f"{len(self.doubled)} doubled {self.doubled[:3]}, "
            f"{len(self.strange)} strange {self.strange[:3]}"
        )


async def until_settled(cluster: Cluster, seconds: float = SETTLED_SECONDS) -> None:
    """Return when every record is settled, by what Kafka says."""
    deadline = time.monotonic() + seconds
    while unsettled := await cluster.topic.unsettled(cluster.group):
        assert time.monotonic() < deadline, f"{unsettled} records are not settled{cluster.said()}"
        await asyncio.sleep(0.2)


async def check(cluster: Cluster, workspace_id: str, load: Load, *, logs: int = 1) -> Account:
    """Wait until everything is settled; then every accepted event is in a table once."""
    await until_settled(cluster)
    account = await take_account(cluster, workspace_id, load)
    print(f"{account}; answers {dict(load.answers)}, slowest {load.slowest_seconds:.1f} s")
    assert account.is_true, f"{account}{cluster.said()}"
    assert await find_gaps(cluster, logs=logs) == []
    return account


async def take_account(cluster: Cluster, workspace_id: str, load: Load) -> Account:
    """Compare the load's ids and numbers with the tables as they are now."""
    rows = await asyncio.to_thread(cluster.rows, _EVENTS, workspace=workspace_id)
    [(stored, rejected, deduplicated)] = await asyncio.to_thread(
        cluster.rows, _TOTALS, workspace=workspace_id
    )
    found = dict(rows)
    return Account(
        len(load.accepted),
        len(load.unknown),
        stored,
        rejected,
        deduplicated,
        missing=sorted(load.accepted.keys() - found.keys()),
        doubled=sorted(
            name for name, times in Counter(name for name, _ in rows).items() if times > 1
        ),
        strange=_strange(found, load),
    )


def _strange(found: dict[str, int], load: Load) -> list[int]:
    under_two_ids = [number for number, times in Counter(found.values()).items() if times > 1]
    other = [
        number
        for name, number in found.items()
        if load.accepted.get(name, number) != number
        or (name not in load.accepted and number not in load.unknown)
    ]
    return sorted({*under_two_ids, *other})


async def find_gaps(cluster: Cluster, *, logs: int | None = 1) -> list[str]:
    """Where positions are missing or in the tables twice; the tables know so many logs (None:
    it does not matter how many)."""
    ledger = await asyncio.to_thread(cluster.rows, _LEDGER)
    ends = await cluster.topic.ends()
    gaps = [
        f"log {log_id} partition {partition}: {records} records at {positions} of {end} positions"
        for log_id, partition, records, positions, end in ledger
        if not records == positions == end
    ]
    counted = {(partition, end) for _, partition, _, _, end in ledger}
    gaps += [
        f"partition {partition} ends at {end}, the tables do not"
        for partition, (_, end) in ends.items()
        if end and (partition, end) not in counted
    ]
    known = {log_id for log_id, *_ in ledger}
    return gaps + (
        [f"{len(known)} logs: {sorted(known)}"] if logs not in {None, len(known)} else []
    )
