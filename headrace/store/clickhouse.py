"""The store over ClickHouse's HTTP interface: a real server or the embedded one.

Owns the statements of the store's port and the settings that make inserts exact: one block,
one token, durable, no guessing of dates. The driver is `connection.py`, which column holds what
`columns.py`, the tables `migrations/`, when identities are loaded `refresh.py`.

clickhouse-connect's calls block, so they run in threads of this object: its asyncio client needs
aiohttp and spends the same CPU on a block, nearly all of it in making the block's bytes.
"""
# ruff: noqa: S608 - names are ours, values are quoted

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, ParamSpec, TypeVar

from headrace.schemas.event_ids import REQUEST_CHARACTERS
from headrace.store import outcomes
from headrace.store.columns import (
    duplicate_columns,
    event_columns,
    link_columns,
    marked_columns,
    rejected_columns,
)
from headrace.store.connection import Columns, Connection, Settings
from headrace.store.port import (
    DuplicateRow,
    EventRow,
    LinkRow,
    MarkedRequest,
    Outcomes,
    Place,
    Reason,
    RejectedRow,
    Sent,
)
from headrace.store.refresh import Identities
from headrace.store.text import quote

LINK_SECONDS: Final = 10
"""Inserting links is given up after this; identity_links_recent looks back a little further."""
_REQUESTS_PER_QUERY: Final = 1_000
_THREADS: Final = 8
_TABLES: Final = ("events_rows", "rejected_events_rows", "deduplicated_events_rows")

INSERT_SETTINGS: Final[Settings] = {
    "async_insert": 0,
    # One block stays one block, whatever its size and however many months it touches.
    "min_insert_block_size_rows": 100_000_000,
    "min_insert_block_size_bytes": 0,
    "max_partitions_per_insert_block": 0,
    # {"a":1,"a":2} and {"a.b":1,"a":{"b":2}} are kept: properties_raw is the truth.
    "type_json_skip_duplicated_paths": 1,
    # Text stays text: "2026-01-01" is no date because it looks like one.
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
}

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ClickHouseStore:
    """Implements `Store`. Can be made while the store is down."""

    def __init__(self, connection: Connection, links: Connection, database: str) -> None:
        self._connection = connection
        self._links = links
        self._database = database
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")
        self._identities = Identities(connection, database, self._in_thread)

    @classmethod
    def connect(cls, url: str, user: str, password: str, database: str) -> ClickHouseStore:
        """A store at `url` (`http://host:port`); connects when first asked something."""

        def connection(seconds: float) -> Connection:
            return Connection(url, user, password, database=database, answer_seconds=seconds)

        return cls(connection(60), connection(LINK_SECONDS), database)

    async def held_positions(
        self, log_id: str, partition: int, first: int, last: int
    ) -> Collection[int]:
        within = f"log_position BETWEEN {int(first)} AND {int(last)}"
        query = " UNION ALL ".join(
            f"SELECT log_position FROM {self._table(table)} "
            f"WHERE {_of_log(log_id, partition)} AND {within}"
            for table in _TABLES
        )
        return {row[0] for row in await self._rows(query)}

    async def highest_position(self, log_id: str, partition: int) -> int | None:
        query = " UNION ALL ".join(
            f"SELECT max(log_position) FROM {self._table(table)} "
            f"WHERE {_of_log(log_id, partition)} HAVING count() > 0"
            for table in _TABLES
        )
        return max((int(row[0]) for row in await self._rows(query)), default=None)

    async def find_requests(
        self, requests: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], list[Place]]:
        found: dict[tuple[str, str], list[Place]] = {}
        for some in _in_groups(sorted(set(requests)), _REQUESTS_PER_QUERY):
            pairs = ", ".join(f"({quote(workspace)}, {quote(name)})" for workspace, name in some)
            rows = await self._rows(
                "SELECT workspace_id, event_id, log_id, log_partition, log_position "
                f"FROM {self._table('events_rows')} "
                f"WHERE (workspace_id, substring(event_id, 1, {REQUEST_CHARACTERS})) IN ({pairs})"
            )
            for workspace, event_id, *place in rows:
                found.setdefault((workspace, event_id), []).append(Place(*place))
        return found

    async def remember_requests(self, requests: Sequence[MarkedRequest]) -> None:
        await self._insert("marked_requests_rows", marked_columns(requests))

    async def remembered_requests(
        self, log_id: str, partition: int, since: datetime
    ) -> Sequence[MarkedRequest]:
        after = f"toDateTime64({quote(f'{since.astimezone(UTC):%F %T.%f}')}, 6, 'UTC')"
        rows = await self._rows(
            "SELECT log_id, log_partition, workspace_id, request, appended_at "
            f"FROM {self._table('marked_requests_rows')} FINAL "
            f"WHERE {_of_log(log_id, partition)} AND appended_at >= {after}"
        )
        return [MarkedRequest(*row) for row in rows]

    async def insert_links(self, rows: Sequence[LinkRow], *, token: str) -> None:  # noqa: ARG002 - links repeat harmlessly
        if rows:
            table = self._table("identity_links_rows")
            columns = link_columns(rows)
            await self._in_thread(self._links.insert, table, columns, settings=INSERT_SETTINGS)

    async def insert_rejected(self, rows: Sequence[RejectedRow], *, token: str) -> None:
        await self._insert("rejected_events_rows", rejected_columns(rows), token)

    async def insert_duplicates(self, rows: Sequence[DuplicateRow], *, token: str) -> None:
        await self._insert("deduplicated_events_rows", duplicate_columns(rows), token)

    async def insert_events(self, rows: Sequence[EventRow], *, token: str) -> None:
        await self._in_thread(self._insert_events, rows, token)

    async def check_events(self, rows: Sequence[EventRow]) -> None:
        await self._insert("events_check", event_columns(rows))

    async def count_outcomes(self, since: datetime, until: datetime) -> Outcomes:
        stored = await self._rows(outcomes.stored_sql(self._database, since, until))
        rejected = await self._rows(outcomes.rejected_sql(self._database, since, until))
        return outcomes.read_outcomes(stored, rejected)

    async def count_senders(
        self, reason: Reason, event: str, since: datetime, until: datetime
    ) -> dict[str, Sent]:
        sql = outcomes.senders_sql(self._database, reason, event, since, until)
        return outcomes.read_senders(await self._rows(sql))

    async def refresh_identities(self) -> None:
        await self._identities.refresh()

    async def stop(self) -> None:
        await self._identities.stop()
        await asyncio.to_thread(self._threads.shutdown)
        self._connection.close()
        self._links.close()

    def _insert_events(self, rows: Sequence[EventRow], token: str) -> None:
        table = self._table("events_rows")
        self._connection.insert(table, event_columns(rows), settings=_with_token(token))

    async def _insert(self, table: str, columns: Columns, token: str = "") -> None:
        await self._in_thread(
            self._connection.insert, self._table(table), columns, settings=_with_token(token)
        )

    async def _rows(self, sql: str) -> Sequence[Sequence[Any]]:
        return await self._in_thread(self._connection.rows, sql)

    async def _in_thread(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: call(*args, **kwargs))

    def _table(self, name: str) -> str:
        return f"`{self._database}`.{name}"


def _with_token(token: str) -> Settings:
    return {**INSERT_SETTINGS, "insert_deduplication_token": token} if token else INSERT_SETTINGS


def _of_log(log_id: str, partition: int) -> str:
    return f"log_id = {quote(log_id)} AND log_partition = {int(partition)}"


def _in_groups(items: Sequence[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
