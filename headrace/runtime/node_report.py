"""What `headrace status` tells of a node: gathered here, shown by the command.

Owns where each number comes from: the supervisor's state file, the log's files, the store (as
the operator, if it answers) and the disk. Works beside a running node and on a stopped one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Final

import httpx2
import msgspec

from headrace.runtime.clock import Clock
from headrace.runtime.home import Home, check_layout
from headrace.runtime.node_state import NodeState, ProcessState, read_node_state
from headrace.runtime.reach import operator_login, verify_for
from headrace.runtime.settings import Settings
from headrace.runtime.store_reader import StoreReader
from headrace.schemas.errors import HeadraceError

TABLES: Final = ("events", "rejected_events", "deduplicated_events", "identity_links")
_STORE_SECONDS: Final = 5.0
_COLLECTOR_SECONDS: Final = 2.0


class LogReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far the processors are behind the collectors. Positions count records.

    What only the local log knows is None for Kafka, which has positions by partition.
    """

    log_id: str
    partitions: int = 1
    next_position: int | None = None
    settled_position: int | None = None
    lag_records: int
    lag_seconds: float | None = None
    size_bytes: int | None = None


class _Readiness(msgspec.Struct, frozen=True):
    """What is of interest of the collector's `/readyz`."""

    checks: dict[str, bool] = {}


class DiskReport(msgspec.Struct, frozen=True, kw_only=True):
    store_bytes: int
    store_max_bytes: int | None
    free_bytes: int


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` is None when the store does not answer; `log` when there is no log yet, or when it
    does not answer, for the reason in `log_trouble`; `collector_trouble` when it is ready now."""

    home: str
    running: bool
    pid: int | None
    version: str | None
    started_at: datetime | None
    collector_url: str | None
    store_url: str | None
    processes: tuple[ProcessState, ...]
    collector_trouble: str | None
    log: LogReport | None
    log_trouble: str | None
    rows: dict[str, int] | None
    disk: DiskReport | None


def report_on(settings: Settings, clock: Clock) -> NodeReport:
    """Everything that can be known right now. Raises `HomeTrouble` for a newer HOME."""
    home = Home(settings.home)
    check_layout(home)
    state = read_node_state(home)
    log, log_trouble = (
        (_log(home, clock), None) if settings.has_local_log else asyncio.run(_kafka(settings))
    )
    return NodeReport(
        home=str(home.root),
        running=state is not None,
        pid=state.pid if state else None,
        version=state.version if state else None,
        started_at=state.started_at if state else None,
        collector_url=state.collector_url if state else None,
        store_url=_store_url(settings, state),
        processes=state.processes if state else (),
        collector_trouble=_collector_trouble(settings, state) if state else None,
        log=log,
        log_trouble=log_trouble,
        rows=_rows(settings) if state or settings.clickhouse else None,
        disk=_disk(home, settings.store_max_bytes),
    )


def _collector_trouble(settings: Settings, state: NodeState) -> str | None:
    """Why it would not take requests now: it was ready once, as the supervisor knows."""
    verify = verify_for(settings, state.collector_url)
    try:
        with httpx2.Client(verify=verify, timeout=_COLLECTOR_SECONDS, trust_env=False) as client:
            answer = client.get(f"{state.collector_url}/readyz")
            checks = msgspec.json.decode(answer.content, type=_Readiness).checks
    except (httpx2.TransportError, msgspec.DecodeError):
        return "it does not answer"
    failed = [name for name, holds in checks.items() if not holds]
    return f"{', '.join(failed)}: no" if failed else None


def _log(home: Home, clock: Clock) -> LogReport | None:
    from headrace.eventlog.sqlite.inspect import inspect_log

    state = inspect_log(home.log, home.positions)
    if state is None:
        return None
    return LogReport(
        log_id=state.log_id,
        next_position=state.end,
        settled_position=state.end - state.unsettled,
        lag_records=state.unsettled,
        lag_seconds=round(state.lag_seconds(clock.now()), 3),
        size_bytes=state.size_bytes,
    )


async def _kafka(settings: Settings) -> tuple[LogReport | None, str | None]:
    """The log, or why there is nothing to say of it."""
    from headrace.eventlog.kafka.topic import inspect_group, inspect_topic
    from headrace.runtime.kafka import kafka_options

    options = kafka_options(settings)
    try:
        topic = await inspect_topic(options)
        partitions = await inspect_group(options)
    except HeadraceError as error:
        return None, str(error)
    if not topic.partitions:
        return None, f"topic {options.topic} is not there; `headrace migrate` makes it"
    lag = sum(partition.unsettled for partition in partitions)
    return LogReport(log_id=topic.topic_id, partitions=topic.partitions, lag_records=lag), None


def _store_url(settings: Settings, state: NodeState | None) -> str | None:
    if settings.clickhouse is not None:
        return settings.clickhouse.url
    return state.store_listen.url if state else None


def _rows(settings: Settings) -> dict[str, int] | None:
    try:
        with StoreReader(operator_login(settings), timeout_seconds=_STORE_SECONDS) as reader:
            return {table: _count(reader, table) for table in TABLES}
    except HeadraceError:
        return None


def _count(reader: StoreReader, table: str) -> int:
    (row,) = reader.rows(f"SELECT toInt64(count()) AS n FROM {table}", dict[str, int])  # noqa: S608 - a name of ours
    return int(row["n"])


def _disk(home: Home, store_max_bytes: int | None) -> DiskReport | None:
    if not home.root.exists():
        return None
    return DiskReport(
        store_bytes=_folder_size(home.store),
        store_max_bytes=store_max_bytes,
        free_bytes=shutil.disk_usage(home.root).free,
    )


def _folder_size(folder: Path) -> int:
    return sum(_size(Path(parent) / name) for parent, _, names in os.walk(folder) for name in names)


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):  # merged away while we looked
        return path.stat().st_size
    return 0
