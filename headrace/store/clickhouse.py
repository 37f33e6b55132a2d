"""The store over ClickHouse's HTTP interface: a real server or the embedded one.

Owns the statements of the store's port. The settings that make inserts exact, on a server and on
replicas, are `guarantees.py`'s; the driver is `connection.py`, which column holds what
`columns.py`, the tables `migrations/`, when identities are loaded `refresh.py`.

clickhouse-connect's calls block, so they run in threads of this object: its asyncio client needs
aiohttp and spends the same CPU on a block, nearly all of it in making the block's bytes.
"""
# ruff: noqa: S608 - names are ours, values are quoted

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice
from typing import Any, Final, ParamSpec, TypeVar

from headrace.schemas.erased import ErasedIds
from headrace.schemas.event_ids import REQUEST_CHARACTERS
from headrace.store import outcomes
from headrace.store.blocks import Columns, Part, join, pack, write
from headrace.store.columns import (
    columns_of,
    duplicate_columns,
    event_columns,
    link_columns,
    marked_columns,
    rejected_columns,
)
from headrace.store.connection import Connection
from headrace.store.guarantees import ON_ONE_SERVER, Guarantees, Inserts, guarantees_for
from headrace.store.links import LinkInserts
from headrace.store.port import (
    DuplicateRow,
    EventColumns,
    EventRow,
    LinkRow,
    MarkedRequest,
    Outcomes,
    PackedEvents,
    Place,
    Reason,
    RejectedRow,
    Sent,
)
from headrace.store.refresh import Identities
from headrace.store.retention import Retention
from headrace.store.text import moment, quote

LINK_SECONDS: Final = 10
"""An insert of links is given up after this; identity_links_recent looks back a little further."""
_REQUESTS_PER_QUERY: Final = 1_000
_THREADS: Final = 8
_EVENTS: Final = "events_rows"
_TABLES: Final = (_EVENTS, "rejected_events_rows", "deduplicated_events_rows")

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ClickHouseStore:
    """Implements `Store`. Can be made while the store is down."""

    def __init__(
        self,
        connection: Connection,
        links: Connection,
        database: str,
        guarantees: Guarantees = ON_ONE_SERVER,
    ) -> None:
        self._connection = connection
        self._links = links
        self._database = database
        self._guarantees = guarantees
        self._inserts = Inserts(connection, guarantees)
        self._retention = Retention(connection, database, guarantees)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")
        self._link_inserts = LinkInserts(lambda rows: self._in_thread(self._insert_links, rows))
        self._identities = Identities(
            connection, database, self._in_thread, cluster=guarantees.cluster
        )

    @classmethod
    def connect(
        cls, url: str, user: str, password: str, database: str, *, cluster: str = ""
    ) -> ClickHouseStore:
        """A store at `url` (`http(s)://host:port`); connects when first asked something.

        `cluster` names the one whose replicas hold the tables, empty where they have none.
        """

        def connection(seconds: float) -> Connection:
            return Connection(url, user, password, database=database, answer_seconds=seconds)

        return cls(connection(60), connection(LINK_SECONDS), database, guarantees_for(cluster))

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
        return await self._find(_EVENTS, requests)

    async def find_rejected_requests(
        self, requests: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], list[Place]]:
        return await self._find("rejected_events_rows", requests)

    async def remember_requests(self, requests: Sequence[MarkedRequest]) -> None:
        await self._insert("marked_requests_rows", marked_columns(requests))

    async def remembered_requests(
        self, log_id: str, partition: int, since: datetime
    ) -> Sequence[MarkedRequest]:
        rows = await self._rows(
            "SELECT log_id, log_partition, workspace_id, request, appended_at "
            f"FROM {self._table('marked_requests_rows')} FINAL "
            f"WHERE {_of_log(log_id, partition)} AND appended_at >= {moment(since)}"
        )
        return [MarkedRequest(*row) for row in rows]

    async def insert_links(self, rows: Sequence[LinkRow]) -> None:
        if rows:
            await self._link_inserts.insert(rows)

    async def insert_rejected(self, rows: Sequence[RejectedRow], *, token: str) -> None:
        await self._insert("rejected_events_rows", rejected_columns(rows), token)

    async def insert_duplicates(self, rows: Sequence[DuplicateRow], *, token: str) -> None:
        await self._insert("deduplicated_events_rows", duplicate_columns(rows), token)

    def pack_part(self, events: EventColumns) -> Part:
        return write(event_columns(events))

    def pack_events(self, parts: Sequence[Part]) -> PackedEvents:
        return PackedEvents(sum(part.rows for part in parts), join(self._table(_EVENTS), parts))

    async def insert_events(self, events: PackedEvents | Sequence[EventRow], *, token: str) -> None:
        await self._in_thread(self._insert_events, events, token)

    async def check_events(self, rows: Sequence[EventRow]) -> None:
        await self._insert("events_check", event_columns(columns_of(rows)))

    async def erased_ids(self) -> ErasedIds:
        rows = await self._rows(
            "SELECT workspace_id, groupUniqArray(digest) "
            f"FROM {self._table('erased_ids_rows')} GROUP BY workspace_id"
        )
        return {str(workspace): frozenset(digests) for workspace, digests in rows}

    async def delete_old(self, now: datetime) -> int:
        return await self._in_thread(self._retention.delete_old, now)

    async def delete_beyond(self, most_bytes: int, now: datetime) -> int:
        return await self._in_thread(self._retention.delete_beyond, most_bytes, now)

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

    def _insert_events(self, events: PackedEvents | Sequence[EventRow], token: str) -> None:
        if not isinstance(events, PackedEvents):
            events = self.pack_events([self.pack_part(columns_of(events))])
        self._inserts.insert(self._table(_EVENTS), events.content, token=token)

    def _insert_links(self, rows: Sequence[LinkRow]) -> None:
        insert = pack(self._table("identity_links_rows"), link_columns(rows))
        self._links.insert(insert, settings=self._guarantees.links)

    def _pack_and_insert(self, table: str, columns: Columns, token: str) -> None:
        self._inserts.insert(table, pack(table, columns), token=token)

    async def _find(
        self, table: str, requests: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], list[Place]]:
        found: dict[tuple[str, str], set[Place]] = {}
        for some in _in_groups(sorted(set(requests)), _REQUESTS_PER_QUERY):
            pairs = ", ".join(f"({quote(workspace)}, {quote(name)})" for workspace, name in some)
            rows = await self._rows(
                "SELECT workspace_id, event_id, log_id, log_partition, log_position "
                f"FROM {self._table(table)} "
                f"WHERE (workspace_id, substring(event_id, 1, {REQUEST_CHARACTERS})) IN ({pairs})"
            )
            for workspace, event_id, *place in rows:
                # A reject may be there twice until its parts are merged.
                found.setdefault((workspace, event_id), set()).add(Place(*place))
        return {name: sorted(places) for name, places in found.items()}

    async def _insert(self, table: str, columns: Columns, token: str = "") -> None:
        await self._in_thread(self._pack_and_insert, self._table(table), columns, token)

    async def _rows(self, sql: str) -> Sequence[Sequence[Any]]:
        reads = self._guarantees.reads
        return await self._in_thread(self._connection.rows, sql, settings=reads)

    async def _in_thread(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: call(*args, **kwargs))

    def _table(self, name: str) -> str:
        return f"`{self._database}`.{name}"


def _of_log(log_id: str, partition: int) -> str:
    return f"log_id = {quote(log_id)} AND log_partition = {int(partition)}"


def _in_groups(items: Sequence[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
