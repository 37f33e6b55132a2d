"""Erasing a person: all rows that are theirs, whichever table holds them.

Owns the statements and their order. Each may be run again, so that an erasure that broke off is
made whole by the next one:

1. The person's ids are put on the list that processors honour, hashed. From a second later on no
   event of theirs is stored.
2. Whatever is stored of them becomes a row of `rejected_events` with the code `erased`, its place
   in the log and nothing of the person, so that the ledger still counts every record; then the
   rows with the person's data are deleted. Again, until nothing more comes: a range that was
   prepared before (1) may still be on its way.
3. Links and unlinks come last: they say which devices are the person's.

A person is a user id with the devices that it is linked to. What another user did on one of these
devices is that user's.
"""
# ruff: noqa: S608 - names are ours, values are quoted

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Final

import msgspec

from headrace.schemas.erased import digest_of_device, digest_of_user
from headrace.schemas.errors import HeadraceError
from headrace.schemas.nobody import NOBODY, is_nobody
from headrace.store.connection import Connection, Settings
from headrace.store.text import quote, quote_name

QUIET_SECONDS: Final = 3.0
"""Nothing more has come for so long: longer than processors take to hear of it, and to write."""
_MOST_ROUNDS: Final = 100
_AT_ONCE: Final[Settings] = {"mutations_sync": 2}
_Tables = Mapping[str, Set[str]]
"""Name → columns."""
_NO_USER: Final = (
    "lower(replaceRegexpAll(user_id, '^[\\\\s\"\\']+|[\\\\s\"\\']+$', '')) IN "
    f"({', '.join(map(quote, sorted(NOBODY)))})"
)
"""What `is_nobody` says, where no column does."""
_COLUMNS: Final = "workspace_id, event_id, event, received_at, log_id, log_partition, log_position"


class Receipt(msgspec.Struct, kw_only=True):
    """What was erased, by count."""

    devices: int = 0
    events: int = 0
    rejected: int = 0
    links: int = 0
    unlinks: int = 0


class Erasure:
    """One person of one workspace."""

    def __init__(
        self,
        connection: Connection,
        database: str,
        workspace_id: str,
        user_id: str,
        *,
        cluster: str = "",
    ) -> None:
        if is_nobody(user_id):
            raise HeadraceError(f"{user_id!r} stands for nobody: it is no person to erase")
        self._connection = connection
        self._name = database
        self._database = quote_name(database)
        self._on_cluster = f" ON CLUSTER {quote_name(cluster)}" if cluster else ""
        self._workspace_id = workspace_id
        self._user_id = user_id
        self._of_user = f"workspace_id = {quote(workspace_id)} AND user_id = {quote(user_id)}"
        self.receipt = Receipt()

    def run(self, pause: Callable[[float], None] = time.sleep) -> Receipt:
        """All of it. Raises the errors of the store's port; then it is to be run again."""
        tables, devices = self._find_tables(), self._devices()
        self.receipt.devices = len(devices)
        self._suppress(devices)
        quiet_since = time.monotonic()
        for _ in range(_MOST_ROUNDS):
            if self._erase_rows(tables, devices):
                quiet_since = time.monotonic()
            if time.monotonic() - quiet_since >= QUIET_SECONDS:
                break
            pause(QUIET_SECONDS / 4)
        else:
            raise HeadraceError("events of the person keep coming: does an old processor run?")
        self._erase_links(tables)
        return self.receipt

    def _devices(self) -> Sequence[str]:
        links = f"{self._database}.identity_links"
        rows = self._connection.rows(
            f"SELECT DISTINCT anonymous_id FROM {links} WHERE {self._of_user}"
        )
        return sorted(str(row[0]) for row in rows)

    def _suppress(self, devices: Sequence[str]) -> None:
        workspace = self._workspace_id
        digests = [digest_of_user(workspace, self._user_id)]
        digests += [digest_of_device(workspace, device) for device in devices]
        rows = ", ".join(f"({quote(workspace)}, {quote(digest)})" for digest in digests)
        self._connection.run(
            f"INSERT INTO {self._database}.erased_ids_rows (workspace_id, digest) "
            f"SELECT * FROM VALUES('w String, d String', {rows})"
        )

    def _erase_rows(self, tables: _Tables, devices: Sequence[str]) -> int:
        """Returns how many rows there were."""
        found = 0
        for table, columns in tables.items():
            if "properties_raw" not in columns:
                continue
            no_user = "NOT user_known" if "user_known" in columns else _NO_USER
            of_person = self._of_person(devices, no_user)
            count = self._count(table, of_person)
            if not count:
                continue
            found += count
            if table.endswith(".rejected_events_rows"):
                self.receipt.rejected += count
            else:
                self.receipt.events += count
            self._keep_places(table, of_person)
            self._delete(table, of_person)
        return found

    def _erase_links(self, tables: _Tables) -> None:
        for table, columns in tables.items():
            if "properties_raw" in columns:
                continue
            count = self._count(table, self._of_user)
            if not count:
                continue
            if table.endswith(".identity_exclusions_rows"):
                self.receipt.unlinks += count
            elif table.endswith(".identity_links_rows"):
                self.receipt.links += count
            self._delete(table, self._of_user)
        for name in ("all", "recent"):
            self._connection.run(
                f"SYSTEM RELOAD DICTIONARY{self._on_cluster} {self._database}.identity_links_{name}"
            )

    def _of_person(self, devices: Sequence[str], no_user: str) -> str:
        theirs = f"user_id = {quote(self._user_id)}"
        if devices:
            named = ", ".join(map(quote, devices))
            theirs += f" OR ({no_user} AND anonymous_id IN ({named}))"
        return f"workspace_id = {quote(self._workspace_id)} AND ({theirs})"

    def _keep_places(self, table: str, of_person: str) -> None:
        """A row that says `erased` takes the place of each; in `rejected_events` the later wins."""
        self._connection.run(
            f"INSERT INTO {self._database}.rejected_events_rows ({_COLUMNS}, code, reason) "
            f"SELECT {_COLUMNS}, 'erased', 'the person was erased' FROM {table} WHERE {of_person}",
        )

    def _delete(self, table: str, of_person: str) -> None:
        self._connection.run(f"ALTER TABLE {table} DELETE WHERE {of_person}", settings=_AT_ONCE)

    def _count(self, table: str, where: str) -> int:
        return int(self._connection.rows(f"SELECT count() FROM {table} WHERE {where}")[0][0])

    def _find_tables(self) -> _Tables:
        """Those that store both ids; also what a migration keeps beside a table."""
        rows = self._connection.rows(
            "SELECT t.name, groupArray(c.name) FROM system.tables AS t JOIN system.columns AS c "
            "ON c.database = t.database AND c.table = t.name "
            f"WHERE t.database = {quote(self._name)} AND t.engine LIKE '%MergeTree' "
            "GROUP BY t.name HAVING hasAll(groupArray(c.name), ['user_id', 'anonymous_id']) "
            "ORDER BY t.name"
        )
        return {f"{self._database}.{name}": frozenset(columns) for name, columns in rows}
