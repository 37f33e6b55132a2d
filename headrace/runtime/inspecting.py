"""What is found at each part of an installation, and what is wrong with it, in sentences.

Owns which parts there are by the settings; each adapter knows how to look at its own. A look
changes nothing and waits a few seconds at most for a part that does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

import msgspec

from headrace.runtime.home import Home
from headrace.runtime.reach import control_url, writer_login
from headrace.runtime.settings import Settings, hide_password
from headrace.schemas.errors import HeadraceError
from headrace.workspaces.port import Log


class Found(msgspec.Struct, frozen=True):
    """One part: `problems` keep it from working, `remarks` are worth knowing."""

    part: str
    what: str
    problems: Sequence[str] = ()
    remarks: Sequence[str] = ()


def inspect_parts(settings: Settings) -> Iterator[Found]:
    """Control data, log, Redis if there is one, store."""
    yield _control(settings)
    yield _local_log(settings) if settings.has_local_log else asyncio.run(_kafka(settings))
    if settings.redis:
        yield asyncio.run(_redis(settings))
    yield _store(settings)


def _control(settings: Settings) -> Found:
    from headrace.workspaces.inspection import inspect_control

    file = Home(settings.home).control
    if settings.has_local_control and not file.exists():
        return Found("control data", f"{file} is made at the first start")
    report = inspect_control(control_url(settings))
    kind = f"{report.kind} {report.server_version}" if report.server_version else report.kind
    where = file if settings.has_local_control else report.place
    what = f"{kind} at {where}"
    if report.workspaces is not None:
        what += f", workspaces: {report.workspaces}, keys: {report.keys}"
    return Found("control data", what, [report.problem] if report.problem else [])


def _local_log(settings: Settings) -> Found:
    from headrace.eventlog.sqlite.inspect import inspect_log

    home = Home(settings.home)
    try:
        state = inspect_log(home.log, home.positions)
    except HeadraceError as error:
        return Found("log", str(home.log), [str(error)])
    if state is None:
        return Found("log", f"{home.log} is made at the first start")
    return Found("log", f"{home.log}, {state.unsettled:,} records not settled yet")


async def _kafka(settings: Settings) -> Found:
    from headrace.eventlog.kafka.topic import inspect_group, inspect_topic
    from headrace.runtime.kafka import kafka_options, topic_plan

    options = kafka_options(settings, _KnownLogs(settings))
    where = ", ".join(options.brokers)
    try:
        topic = await inspect_topic(options, topic_plan(settings))
        partitions = await inspect_group(options)
    except HeadraceError as error:
        return Found("log", f"Kafka at {where}", [str(error)])
    what = f"Kafka {topic.release} at {where}, brokers: {topic.brokers}; topic {options.topic}"
    if topic.partitions:
        lag = sum(partition.unsettled for partition in partitions)
        what += (
            f", partitions: {topic.partitions}, replicas: {topic.replication}; "
            f"{lag:,} records not settled yet"
        )
    return Found("log", what, topic.problems)


class _KnownLogs:
    """Logs as control data knows them; none if it cannot be reached."""

    def __init__(self, settings: Settings) -> None:
        from headrace.workspaces.database import ControlData

        self._logs: dict[str, Log] = {}
        with contextlib.suppress(HeadraceError):
            control = ControlData.at(control_url(settings))
            with contextlib.closing(control):
                self._logs = {log.id: log for log in control.list_logs()}

    def find_log(self, log_id: str) -> Log | None:
        return self._logs.get(log_id)


async def _redis(settings: Settings) -> Found:
    from headrace.collector.redis.report import inspect_redis

    try:
        report = await inspect_redis(settings.redis)
    except HeadraceError as error:
        return Found("Redis", hide_password(settings.redis), [f"HEADRACE_REDIS: {error}"])
    what = "no answer"
    if report.is_reachable:
        what = (
            f"{report.version}, {report.role}, {report.policy}, {report.persistence}, answers in "
            f"{report.latency_seconds * 1000:.1f} ms"
        )
    return Found("Redis", what, report.problems, report.remarks)


def _store(settings: Settings) -> Found:
    from headrace.store.inspect import inspect_store

    kind = "embedded ClickHouse" if settings.has_embedded_store else "ClickHouse"
    try:
        login = writer_login(settings)
        report = inspect_store(
            login.url,
            login.user,
            login.password,
            login.database,
            cluster=settings.clickhouse_cluster,
        )
    except HeadraceError as error:
        if settings.has_embedded_store:  # it runs when `headrace up` does
            return Found("store", kind, remarks=[str(error)])
        return Found("store", kind, [str(error)])
    where = f"{kind} {report.version} at {login.url}, database {report.database}"
    if settings.clickhouse_cluster:
        where += f", {report.shards} shard, {report.replicas} replicas"
    return Found("store", f"{where}, {len(report.applied)} migrations", report.problems)
