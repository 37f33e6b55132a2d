"""A database of an older version with rows of every kind, for those who migrate it.

Owns the rows and their checksums, and ways to die while migrating.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from headrace.store.clickhouse import ClickHouseStore
from headrace.store.connection import Connection
from headrace.store.engines import EMBEDDED
from headrace.store.migrate import Migration, first_statements, migrate, read_migrations, statements
from headrace.store.port import EventRow, MarkedRequest
from tests.store.harness import (
    LOG,
    MORNING,
    WORKSPACE,
    duplicate_row,
    event_row,
    link_row,
    rejected_row,
)
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

NEWEST: Final = len(read_migrations())
FIRST_RELEASED: Final = 3
"""The first version that ran has the files up to this one; fewer are a first start cut short."""
ROWS: Final = 60
_names = itertools.count(1)

_FOR_GOOD: Final = re.compile(r"RENAME|REPLACE PARTITION|INSERT INTO \S+\.migrations")

_DYING: Final = """
import os, signal, sys
from headrace.store.connection import Connection
from headrace.store.migrate import migrate
url, user, password, database, statements = sys.argv[1:]
run, left = Connection.run, int(statements)
def run_or_die(self, sql, **options):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    run(self, sql, **options)
Connection.run = run_or_die
migrate(url, user, password, database)
"""


class Died(Exception):
    """In place of the end of the process: what is left of it is in the store alone."""


class Filled:
    """A database as an older version left it, with rows of every kind over several months."""

    def __init__(
        self, server: StoreServer, version: int, known: Sequence[Migration] | None = None
    ) -> None:
        self.known = known or read_migrations()
        self.database = f"filled_{next(_names)}"
        self.connection = Connection(server.url, PROCESSOR, PASSWORD, database="default")
        self._server = server
        self._lay_out(version)
        asyncio.run(self._fill(version))
        self.before = self.photograph()

    def migrate(self) -> list[str]:
        return migrate(self._server.url, PROCESSOR, PASSWORD, self.database, known=self.known)

    def migrate_and_be_killed(self, after: int) -> int:
        """In a process that ends by SIGKILL after so many statements; returns how it ended."""
        login = [self._server.url, PROCESSOR, PASSWORD, self.database, str(after)]
        root = str(Path(__file__).parents[2])
        environment = {**os.environ, "PYTHONPATH": root}
        command = [sys.executable, "-c", _DYING, *login]
        return subprocess.run(command, env=environment, timeout=120, check=False).returncode

    def open_store(self) -> ClickHouseStore:
        return ClickHouseStore.connect(self._server.url, PROCESSOR, PASSWORD, self.database)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.connection.rows(sql)]

    def photograph(self) -> dict[str, list[int]]:
        """Table → a checksum of every row, of the columns that the older version has."""
        columns: dict[str, list[str]] = getattr(self, "_columns", None) or self._read_columns()
        self._columns = columns
        return {
            table: self.rows(
                f"SELECT arraySort(groupArray(cityHash64({', '.join(names)}))) "
                f"FROM {self.database}.{table}"
            )[0][0]
            for table, names in columns.items()
        }

    def check(self) -> None:
        """At the newest version, with the rows of the older one; nothing is left to do."""
        for table, rows in self.photograph().items():
            assert rows == self.before[table], table
        recorded = self.rows(f"SELECT number FROM {self.database}.migrations FINAL ORDER BY 1")
        assert recorded == [(number + 1,) for number in range(len(self.known))]
        assert self.migrate() == []
        events = self.rows(f"SELECT count(), uniqExact(event_id) FROM {self.database}.events")
        assert events == [(ROWS, ROWS)]

    def close(self) -> None:
        self.connection.run(f"DROP DATABASE {self.database} SYNC")
        self.connection.close()

    def _lay_out(self, version: int) -> None:
        for statement in first_statements(self.database, EMBEDDED):
            self.connection.run(statement)
        for migration in read_migrations()[:version]:
            for statement in statements(migration, self.database, EMBEDDED):
                self.connection.run(statement)
            self.connection.run(
                f"INSERT INTO {self.database}.migrations (number, name) "
                f"VALUES ({migration.number}, '{migration.name}')"
            )

    async def _fill(self, version: int) -> None:
        store = self.open_store()
        await store.insert_events([make_event(n) for n in range(ROWS)], token="events")
        some = [rejected_row(1000 + n, received_at=month(n)) for n in range(9)]
        unreadable = rejected_row(1010, timestamp=None, received_at=None, raw=b"\xff\x00")
        await store.insert_rejected([*some, unreadable], token="rejected")
        await store.insert_duplicates([duplicate_row(2000 + n) for n in range(9)], token="twice")
        await store.remember_requests([MarkedRequest(LOG, 0, WORKSPACE, "r", datetime.now(UTC))])
        if version >= 2:
            links = [link_row(f"d{n}", f"u{n % 3}", n) for n in range(20)]
            await store.insert_links(links)
            self.connection.run(
                f"INSERT INTO {self.database}.identity_exclusions_rows "
                "(workspace_id, anonymous_id, user_id, excluded) "
                f"VALUES ('{WORKSPACE}', 'd3', 'u0', true)"
            )
        await store.stop()

    def _read_columns(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for table, name, type_name in self.rows(
            "SELECT table, name, type FROM system.columns "
            f"WHERE database = '{self.database}' AND table LIKE '%_rows' "
            "AND default_kind NOT IN ('EPHEMERAL', 'ALIAS') ORDER BY table, position"
        ):
            as_text = f"toString({name})" if type_name.startswith("JSON") else name
            found.setdefault(table, []).append(as_text)
        return found


def month(number: int) -> datetime:
    return MORNING + timedelta(days=31 * (number % 4))


def make_event(number: int, **changes: Any) -> EventRow:
    """Anonymous and known, in four months, with properties of every kind."""
    properties = b'{"n":%d,"f":1.5,"s":"\xc3\xa9","a":[1,"b"],"o":{"p":null},"t":true}' % number
    fields: dict[str, Any] = {
        "received_at": month(number),
        "anonymous_id": f"d{number % 20}",
        "user_id": f"u{number % 3}" if number % 2 else "",
        "user_known": bool(number % 2),
        "properties_raw": properties,
    }
    return event_row(number, **(fields | changes))


def die_again_and_again(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> int:
    """Migrates and dies after one statement, two, three, …; from one again once something is done
    for good. So it dies at every place; returns how often."""
    run, left, is_done = Connection.run, 0, False

    def run_or_die(self: Connection, sql: str, **options: Any) -> None:
        nonlocal left, is_done
        if left == 0:
            raise Died(sql)
        left -= 1
        run(self, sql, **options)
        is_done |= bool(_FOR_GOOD.search(sql))

    deaths = statements = 0
    with monkeypatch.context() as patched:
        patched.setattr(Connection, "run", run_or_die)
        while True:
            left, is_done = statements, False
            try:
                filled.migrate()
                return deaths
            except Died:
                deaths += 1
                statements = 0 if is_done else statements + 1
