"""Rows past their workspace's time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from headrace.schemas.errors import HeadraceError
from headrace.store.connection import Connection
from headrace.store.retention import FOR_EVER, keep_for, kept_days
from tests.store.harness import (
    MORNING,
    WORKSPACE,
    ServerTables,
    event_row,
    rejected_row,
)
from tests.store.server_fixture import PASSWORD, PROCESSOR, StoreServer

pytestmark = pytest.mark.node

OLD = MORNING - timedelta(days=10)


@pytest.fixture
def connection(module_server: StoreServer) -> Connection:
    return Connection(module_server.url, PROCESSOR, PASSWORD)


async def fill(tables: ServerTables) -> None:
    await tables.store.insert_events(
        [
            event_row(1, received_at=OLD),
            event_row(2, received_at=OLD + timedelta(microseconds=1)),
            event_row(3, timestamp=OLD - timedelta(days=900)),
            event_row(4, received_at=OLD, workspace_id="ws_two"),
        ],
        token="events",
    )
    await tables.store.insert_rejected(
        [rejected_row(5, received_at=OLD), rejected_row(6), rejected_row(7, received_at=None)],
        token="rejected",
    )


async def test_what_was_received_before_is_deleted(
    tables: ServerTables, connection: Connection
) -> None:
    """To the microsecond, by receipt; of that workspace only. What is left is left alone."""
    await fill(tables)
    assert await tables.store.delete_old(MORNING) == 0
    keep_for(connection, tables.database, WORKSPACE, 3)
    keep_for(connection, tables.database, WORKSPACE, 10)
    assert await tables.store.delete_old(MORNING + timedelta(microseconds=1)) == 2
    assert [row[1] for row in tables.events()] == [2, 3, 4]
    assert [row[0] for row in tables.rejected()] == [6, 7]
    assert await tables.store.delete_old(MORNING + timedelta(microseconds=1)) == 0


async def test_for_ever_takes_it_back(tables: ServerTables, connection: Connection) -> None:
    """The last word on a workspace counts."""
    await fill(tables)
    keep_for(connection, tables.database, WORKSPACE, 1)
    assert kept_days(connection, tables.database) == {WORKSPACE: 1}
    keep_for(connection, tables.database, WORKSPACE, FOR_EVER)
    assert kept_days(connection, tables.database) == {}
    assert await tables.store.delete_old(MORNING) == 0
    with pytest.raises(HeadraceError, match="no number of days"):
        keep_for(connection, tables.database, WORKSPACE, -1)
