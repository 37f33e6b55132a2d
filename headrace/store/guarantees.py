"""What the store's statements ask of ClickHouse, so that each row is there once and stays.

Owns the settings of inserts and reads, for a server by itself and for replicas. On replicas an
insert is answered when a majority has the block, and a read sees every block that was answered,
on whichever replica it runs. ClickHouse gives that only to inserts that go one at a time into a
table, so those of one process wait for one another here, and those of others are waited out.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from typing import Final

import msgspec

from headrace.store.blocks import Insert
from headrace.store.connection import Connection, Settings
from headrace.store.errors import QuorumBusy

INSERT_SETTINGS: Final[Settings] = {
    "async_insert": 0,
    # One block stays one block, whatever its size and however many months it touches.
    "min_insert_block_size_rows": 100_000_000,
    "min_insert_block_size_bytes": 0,
    "max_partitions_per_insert_block": 0,
    # A user's profile may say otherwise; then tokens would count for nothing.
    "insert_deduplicate": 1,
    # {"a":1,"a":2} and {"a.b":1,"a":{"b":2}} are kept: properties_raw is the truth.
    "type_json_skip_duplicated_paths": 1,
    # Text stays text: "2026-01-01" is no date because it looks like one.
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
}

_QUORUM: Final[Settings] = {"insert_quorum": "auto", "insert_quorum_timeout": 30_000}
_BUSY_SECONDS: Final = 20.0
_LONGEST_WAIT_SECONDS: Final = 0.5


class Guarantees(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of inserts that must be seen by the next read, of other inserts, and of reads."""

    cluster: str = ""
    inserts: Settings = msgspec.field(default_factory=lambda: INSERT_SETTINGS)
    links: Settings = msgspec.field(default_factory=lambda: INSERT_SETTINGS)
    reads: Settings = {}


ON_ONE_SERVER: Final = Guarantees()


def guarantees_for(cluster: str) -> Guarantees:
    """Those of a server by itself, or of a cluster's replicas if `cluster` names one."""
    if not cluster:
        return ON_ONE_SERVER
    return Guarantees(
        cluster=cluster,
        inserts={**INSERT_SETTINGS, **_QUORUM, "insert_quorum_parallel": 0},
        # Links commute and are read by dictionaries: a majority must have them, in any order.
        links={
            **INSERT_SETTINGS,
            **_QUORUM,
            "insert_quorum_timeout": 8_000,
            "insert_quorum_parallel": 1,
        },
        reads={"select_sequential_consistency": 1},
    )


class Inserts:
    """Inserts of one process under `Guarantees`; called from any number of threads."""

    def __init__(self, connection: Connection, guarantees: Guarantees) -> None:
        self._connection = connection
        self._guarantees = guarantees
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def insert(self, table: str, insert: Insert, *, token: str = "") -> None:
        """One block into the table, which is read back by the same settings' reads."""
        settings = self._guarantees.inserts
        if token:
            settings = {**settings, "insert_deduplication_token": token}
        if not self._guarantees.cluster:
            self._connection.insert(insert, settings=settings)
            return
        with self._locks[table]:
            self._insert_in_turn(insert, settings)

    def _insert_in_turn(self, insert: Insert, settings: Settings) -> None:
        deadline = time.monotonic() + _BUSY_SECONDS
        wait = 0.01
        while True:
            try:
                self._connection.insert(insert, settings=settings)
            except QuorumBusy:
                if time.monotonic() > deadline:
                    raise
            else:
                return
            time.sleep(wait * (0.5 + random.random()))  # noqa: S311 - only to part two processes
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
