"""How many records were stored and rejected in a span of time: statements and their answers.

Months are the tables' partitions, so every part knows its first and last receipt: of what
was received at other times nothing is read. `_PATH` is `schemas.reasons.without_indexes` in SQL.
"""
# ruff: noqa: S608 - names are ours, values are quoted

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from headrace.store.port import Outcomes, Reason, Sent
from headrace.store.text import moment, quote, quote_name

_PATH: Final = r"replaceRegexpAll(path, '\\[[0-9]+\\]', '[]')"

Rows = Sequence[Sequence[Any]]


def stored_sql(database: str, since: datetime, until: datetime) -> str:
    return f"SELECT count() FROM {quote_name(database)}.events_rows WHERE {_received(since, until)}"


def rejected_sql(database: str, since: datetime, until: datetime) -> str:
    return (
        f"SELECT code, schema, {_PATH} AS place, count() "
        f"FROM {quote_name(database)}.rejected_events_rows WHERE {_received(since, until)} "
        "GROUP BY code, schema, place"
    )


def senders_sql(database: str, reason: Reason, event: str, since: datetime, until: datetime) -> str:
    of_event = f"event = {quote(event)} AND " if event else ""
    within = of_event + _received(since, until)
    why = (
        f"code = {quote(reason.code)} AND schema = {quote(reason.schema)} "
        f"AND {_PATH} = {quote(reason.path)}"
    )
    return (
        "SELECT workspace_id, sum(stored), sum(rejected) FROM ("
        "SELECT workspace_id, 1 AS stored, 0 AS rejected "
        f"FROM {quote_name(database)}.events_rows WHERE {within} UNION ALL "
        "SELECT workspace_id, 0 AS stored, 1 AS rejected "
        f"FROM {quote_name(database)}.rejected_events_rows WHERE {within} AND {why}"
        ") GROUP BY workspace_id"
    )


def read_outcomes(stored: Rows, rejected: Rows) -> Outcomes:
    by_reason = {Reason(*reason): int(count) for *reason, count in rejected}
    return Outcomes(int(stored[0][0]) + sum(by_reason.values()), by_reason)


def read_senders(rows: Rows) -> dict[str, Sent]:
    return {workspace: Sent(int(stored), int(rejected)) for workspace, stored, rejected in rows}


def _received(since: datetime, until: datetime) -> str:
    return f"received_at >= {moment(since)} AND received_at < {moment(until)}"
