"""Erasing a person from the tables, begun again wherever it broke off."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.schemas.erased import digest_of_device, digest_of_user
from headrace.schemas.errors import HeadraceError, Unavailable
from headrace.store import erasing
from headrace.store.connection import Connection, Settings
from headrace.store.erasing import Erasure, Receipt
from headrace.store.identities import unlink
from tests.store.harness import WORKSPACE, ServerTables, event_row, link_row, rejected_row
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

pytestmark = pytest.mark.node

USER = "ann o'hara"


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "QUIET_SECONDS", 0.01)


async def fill(tables: ServerTables) -> None:
    """Ann on two devices, one of which is Bob's as well; and somebody in another workspace."""
    store = tables.store
    ann = {"user_id": USER, "user_known": True}
    bob = {"user_id": "bob", "user_known": True}
    await store.insert_events(
        [
            event_row(1, anonymous_id="phone"),
            event_row(2, anonymous_id="phone", **ann),
            event_row(3, anonymous_id="shared", **ann),
            event_row(4, anonymous_id="shared", **bob),
            event_row(5, anonymous_id="shared"),
            event_row(6, anonymous_id="of nobody known"),
            event_row(7, anonymous_id="phone", workspace_id="ws_two", **ann),
        ],
        token="events",
    )
    await store.insert_rejected(
        [
            rejected_row(8, user_id=USER),
            rejected_row(9, user_id="", anonymous_id="phone"),
            rejected_row(10, user_id="bob", anonymous_id="phone"),
            rejected_row(12, user_id=' "Guest"\t', anonymous_id="phone"),
        ],
        token="rejected",
    )
    await store.insert_links(
        [
            link_row("phone", USER, 1),
            link_row("shared", "bob", 2),
            link_row("shared", USER, 3),
        ],
    )
    await store.refresh_identities()


class Breaking(Connection):
    """Breaks off at the nth statement that changes something."""

    def __init__(self, url: str, at: int = 0) -> None:
        super().__init__(url, PROCESSOR, PASSWORD)
        self.at = at

    def run(self, sql: str, *, settings: Settings | None = None) -> None:
        self.at -= 1
        if self.at == 0:
            raise Unavailable("broken off")
        super().run(sql, settings=settings)


def erase(server: StoreServer, tables: ServerTables, at: int = 0, user: str = USER) -> Receipt:
    connection = Breaking(server.url, at)
    try:
        return Erasure(connection, tables.database, WORKSPACE, user).run(lambda _: None)
    finally:
        connection.close()


def rows(server: StoreServer, sql: str) -> list[tuple[Any, ...]]:
    client = server.client(PROCESSOR, database="default")
    try:
        return [tuple(row) for row in client.query(sql).result_rows]
    finally:
        client.close()


def check(server: StoreServer, tables: ServerTables) -> None:
    """Nothing of Ann is left, every place is, and what is Bob's."""
    of = tables.database
    events = f"SELECT log_position FROM `{of}`.events_rows ORDER BY 1"
    assert rows(server, events) == [(4,), (5,), (6,), (7,)]
    rejected = rows(
        server,
        "SELECT log_position, code, user_id, anonymous_id, properties_raw, raw, isNull(timestamp) "
        f"FROM `{of}`.rejected_events_rows FINAL ORDER BY 1",
    )
    blank = ("erased", "", "", "", "", 1)
    assert [row[1:] for row in rejected if row[0] in (1, 2, 3, 8, 9, 12)] == [blank] * 6
    assert [row[:3] for row in rejected if row[0] == 10] == [(10, "schema_violation", "bob")]
    assert len(rejected) == 7
    links = f"SELECT DISTINCT anonymous_id, user_id FROM `{of}`.identity_links_rows"
    by_user = f"SELECT DISTINCT anonymous_id, user_id FROM `{of}`.identity_links_by_user_rows"
    assert rows(server, links) == rows(server, by_user) == [("shared", "bob")]
    parts = rows(
        server,
        "SELECT table, sum(rows) FROM system.parts WHERE active AND "
        f"database = '{of}' AND table = 'events_rows' GROUP BY table",
    )
    assert parts == [("events_rows", 4)], "deleted for good, not hidden"


async def test_a_person_is_erased(module_server: StoreServer, tables: ServerTables) -> None:
    """Their devices are those that count as theirs: the shared one is Bob's, who had it first."""
    await fill(tables)
    unlink(
        Breaking(module_server.url),
        workspace_id=WORKSPACE,
        anonymous_id="old device",
        user_id=USER,
        database=tables.database,
    )
    receipt = erase(module_server, tables)
    check(module_server, tables)
    assert (receipt.devices, receipt.events, receipt.rejected) == (1, 3, 3)
    assert (receipt.links, receipt.unlinks) == (2, 1)
    assert await tables.store.erased_ids() == {
        WORKSPACE: {digest_of_user(WORKSPACE, USER), digest_of_device(WORKSPACE, "phone")}
    }
    assert erase(module_server, tables) == Receipt()
    check(module_server, tables)


@pytest.mark.parametrize("at", range(1, 10))
async def test_it_is_made_whole_wherever_it_broke_off(
    module_server: StoreServer, tables: ServerTables, at: int
) -> None:
    """At each statement; the next run finds what is left, its devices too."""
    await fill(tables)
    try:
        erase(module_server, tables, at)
    except Unavailable:
        erase(module_server, tables)
    check(module_server, tables)


async def test_what_was_still_on_its_way_is_erased_too(
    module_server: StoreServer, tables: ServerTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor that had not heard of it yet inserts once more."""
    monkeypatch.setattr(erasing, "QUIET_SECONDS", 0.2)
    await fill(tables)
    late = [event_row(11, user_id=USER, user_known=True)]
    pauses = 0

    def pause(_: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 1:
            tables.store._insert_events(late, "late")

    connection = Breaking(module_server.url)
    receipt = Erasure(connection, tables.database, WORKSPACE, USER).run(pause)
    connection.close()
    assert receipt.events == 4
    sql = f"SELECT count() FROM `{tables.database}`.events_rows WHERE user_id = 'ann o''hara' "
    assert rows(module_server, sql + f"AND workspace_id = '{WORKSPACE}'") == [(0,)]


def test_nobody_is_no_person(module_server: StoreServer, tables: ServerTables) -> None:
    """Thousands of strangers bear that id."""
    with pytest.raises(HeadraceError, match="nobody"):
        erase(module_server, tables, user="null")
