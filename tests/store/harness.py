"""What the store's tests share: rows to insert, a migrated database, and a wire that fails.

Owns `Tables`, which reads back what a store holds, for the fake and for ClickHouse alike.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec

from headrace.runtime.clock import ManualClock
from headrace.store import identities
from headrace.store.clickhouse import ClickHouseStore
from headrace.store.connection import Connection
from headrace.store.engines import EMBEDDED, Engines
from headrace.store.memory import MemoryStore, Pair, count_links
from headrace.store.migrate import migrate
from headrace.store.port import DuplicateRow, EventRow, LinkRow, Place, RejectedRow, Store
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

LOG = "0f" * 16
WORKSPACE = "ws_one"
MORNING = datetime(2026, 3, 1, 9, tzinfo=UTC)
_databases = itertools.count(1)


def event_row(position: int, **changes: Any) -> EventRow:
    """An anonymous event at a position of partition 0; its id is made of the position."""
    row = EventRow(
        place=Place(LOG, 0, position),
        workspace_id=WORKSPACE,
        event_id=f"evt_{position:024d}00",
        event="app_opened",
        user_id="",
        anonymous_id="device",
        user_known=False,
        anonymous_known=True,
        timestamp=MORNING,
        received_at=MORNING,
        timeliness="on_time",
        properties_raw=b'{"a":1}',
    )
    return msgspec.structs.replace(row, **changes)


def rejected_row(position: int, **changes: Any) -> RejectedRow:
    row = RejectedRow(
        place=Place(LOG, 0, position),
        workspace_id=WORKSPACE,
        event_id=f"evt_{position:024d}00",
        event="purchase",
        user_id="u",
        anonymous_id="",
        timestamp=MORNING,
        received_at=MORNING,
        properties_raw=b'{"price":"x"}',
        code="schema_violation",
        reason="price must be a number",
        path="$.properties.price",
        schema="purchase",
        raw=b'{"event":"purchase"}',
    )
    return msgspec.structs.replace(row, **changes)


def duplicate_row(position: int, **changes: Any) -> DuplicateRow:
    row = DuplicateRow(
        place=Place(LOG, 0, position),
        workspace_id=WORKSPACE,
        event_id="evt_" + "0" * 26,
        request="evt_" + "0" * 24,
        kept=Place(LOG, 0, 0),
    )
    return msgspec.structs.replace(row, **changes)


def link_row(anonymous_id: str, user_id: str, second: int = 0, **changes: Any) -> LinkRow:
    row = LinkRow(
        WORKSPACE, anonymous_id, user_id, MORNING + timedelta(seconds=second), f"evt_{second:026d}"
    )
    return msgspec.structs.replace(row, **changes)


class Tables(Protocol):
    """A store under test and what it holds, read without the port."""

    @property
    def store(self) -> Store: ...

    def events(self) -> list[tuple[str, int, bytes, datetime, datetime]]:
        """Id, position, properties_raw, timestamp, received_at; by position."""
        ...

    def rejected(self) -> list[tuple[int, str, datetime | None]]:
        """Position, code, timestamp; as the view shows them."""
        ...

    def duplicates(self) -> list[tuple[int, str, int]]:
        """Position, request, kept position; as the view shows them."""
        ...

    def people(self) -> dict[str, str]:
        """Event id → person id."""
        ...

    def links(self) -> dict[tuple[str, str], str]:
        """(workspace, anonymous id) → the user that counts."""
        ...

    def decide(self, pair: Pair, *, excluded: bool) -> None:
        """Unlink a pair or link it again."""
        ...


class MemoryTables:
    """The fake."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    def events(self) -> list[tuple[str, int, bytes, datetime, datetime]]:
        rows = sorted(self.store.events, key=lambda row: row.place)
        return [
            (r.event_id, r.place.position, r.properties_raw, r.timestamp, r.received_at)
            for r in rows
        ]

    def rejected(self) -> list[tuple[int, str, datetime | None]]:
        rows = {row.place.position: (row.code, row.timestamp) for row in self.store.rejected}
        return [(position, *rest) for position, rest in sorted(rows.items())]

    def duplicates(self) -> list[tuple[int, str, int]]:
        rows = {r.place.position: (r.request, r.kept.position) for r in self.store.duplicates}
        return [(position, *rest) for position, rest in sorted(rows.items())]

    def people(self) -> dict[str, str]:
        return {row.event_id: self.store.person_id(row) for row in self.store.events}

    def links(self) -> dict[tuple[str, str], str]:
        limit = self.store.links_per_user
        counting = count_links(self.store.links, self.store.excluded, links_per_user=limit)
        return {key: link.user_id for key, link in counting.items()}

    def decide(self, pair: Pair, *, excluded: bool) -> None:
        (self.store.excluded.add if excluded else self.store.excluded.discard)(pair)
        self.store.count_identities()


class ServerTables:
    """ClickHouse over HTTP, in a database of its own."""

    def __init__(self, store: ClickHouseStore, connection: Connection, database: str) -> None:
        self.store = store
        self.connection = connection
        self.database = database

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.connection.rows(sql)]

    def events(self) -> list[tuple[str, int, bytes, datetime, datetime]]:
        rows = self.rows(
            "SELECT event_id, log_position, properties_raw, timestamp, received_at "
            f"FROM `{self.database}`.events ORDER BY log_position"
        )
        return [(id_, at, raw.encode(), *times) for id_, at, raw, *times in rows]

    def rejected(self) -> list[tuple[int, str, datetime | None]]:
        return self.rows(
            "SELECT log_position, code, timestamp "
            f"FROM `{self.database}`.rejected_events ORDER BY log_position"
        )

    def duplicates(self) -> list[tuple[int, str, int]]:
        return self.rows(
            "SELECT log_position, request, kept_log_position "
            f"FROM `{self.database}`.deduplicated_events ORDER BY 1"
        )

    def people(self) -> dict[str, str]:
        return dict(self.rows(f"SELECT event_id, person_id FROM `{self.database}`.events"))

    def links(self) -> dict[tuple[str, str], str]:
        rows = self.rows(
            f"SELECT workspace_id, anonymous_id, user_id FROM `{self.database}`.identity_links"
        )
        assert len({row[:2] for row in rows}) == len(rows)
        return {(workspace, anonymous): user for workspace, anonymous, user in rows}

    def decide(self, pair: Pair, *, excluded: bool) -> None:
        workspace, anonymous, user = pair
        change = identities.unlink if excluded else identities.link_again
        change(
            self.connection,
            workspace_id=workspace,
            anonymous_id=anonymous,
            user_id=user,
            database=self.database,
        )


class MakeTables(Protocol):
    """Makes a store of the adapter under test."""

    def __call__(self, *, window: int = 1_000, links_per_user: int = 500) -> Tables: ...


def memory_tables(*, window: int = 1_000, links_per_user: int = 500) -> MemoryTables:
    return MemoryTables(
        MemoryStore(
            ManualClock(),
            window=window,
            links_per_user=links_per_user,
            refuses=lambda row: b"1e999" in row.properties_raw,
        )
    )


@contextmanager
def server_tables(
    server: StoreServer,
    *,
    url: str = "",
    window: int = 1_000,
    links_per_user: int = 500,
    engines: Engines = EMBEDDED,
    database: str = "headrace",
) -> Iterator[ServerTables]:
    """A fresh, migrated database of a server; `url` if the store is to go another way to it.

    A number is put behind the database's name.
    """
    database = f"{database}_{next(_databases)}"
    durable = engines.durable.replace("1000000", str(window))
    engines = msgspec.structs.replace(engines, durable=durable, links_per_user=links_per_user)
    migrate(server.url, PROCESSOR, PASSWORD, database, engines=engines)
    store = ClickHouseStore.connect(url or server.url, PROCESSOR, PASSWORD, database)
    connection = Connection(server.url, PROCESSOR, PASSWORD)
    try:
        yield ServerTables(store, connection, database)
    finally:
        asyncio.run(store.stop())
        connection.run(f"DROP DATABASE `{database}` SYNC")
        connection.close()


class Wire:
    """A way to a server that can be cut, or that loses answers; a context manager."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._loses_answers = 0
        self._is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def lose_answers(self, count: int) -> None:
        """The next answers reach this far and no further: the server has done its work."""
        self._loses_answers = count

    def cut(self) -> None:
        """From now on nothing gets through."""
        self._is_cut = True

    def mend(self) -> None:
        self._is_cut = False

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._to)) as server:
            requests = threading.Thread(target=_pump, args=(client, server), daemon=True)
            requests.start()
            with suppress(OSError):
                while not self._is_cut and (answer := server.recv(1 << 16)):
                    if self._is_cut or self._loses_answers:
                        self._loses_answers = max(0, self._loses_answers - 1)
                        break
                    client.sendall(answer)
            for end in (client, server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            requests.join()


def _pump(from_: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while piece := from_.recv(1 << 16):
            to.sendall(piece)
        to.shutdown(socket.SHUT_WR)
