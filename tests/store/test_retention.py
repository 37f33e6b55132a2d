"""Rows past their workspace's time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

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


async def fill_hours(tables: ServerTables, hours: int, each: int) -> None:
    for hour in range(hours):
        rows = [
            event_row(
                1 + hour * each + number,
                received_at=MORNING + timedelta(hours=hour),
                workspace_id=WORKSPACE if number % 2 else "ws_two",
                properties_raw=f'{{"random": "{uuid4().hex}"}}'.encode(),
            )
            for number in range(each)
        ]
        await tables.store.insert_events(rows, token=f"hour {hour}")


def size(tables: ServerTables) -> int:
    return int(
        tables.rows(
            "SELECT sum(bytes_on_disk) FROM system.parts "
            f"WHERE database = '{tables.database}' AND active"
        )[0][0]
    )


async def until_at_rest(tables: ServerTables) -> None:
    async with asyncio.timeout(60):
        while tables.rows(  # noqa: ASYNC110 - what we wait for is in the server
            "SELECT command FROM system.mutations "
            f"WHERE database = '{tables.database}' AND NOT is_done"
        ):
            await asyncio.sleep(0.05)


async def test_beyond_the_bound_what_came_first_is_deleted(tables: ServerTables) -> None:
    """By receipt, of all workspaces, and the disk is free again; then nothing more is."""
    await fill_hours(tables, 10, 1_000)
    later = MORNING + timedelta(days=1)
    full = size(tables)
    assert await tables.store.delete_beyond(full, later) == 0
    bound = full * 7 // 10
    deleted = await tables.store.delete_beyond(bound, later)
    assert 3_000 < deleted < 6_000
    await until_at_rest(tables)
    assert size(tables) < bound
    positions = [row[1] for row in tables.events()]
    assert positions == list(range(1 + deleted, 10_001))
    assert await tables.store.delete_beyond(bound, later) == 0


async def test_where_something_else_is_large_nothing_is_deleted(tables: ServerTables) -> None:
    """All events would go, and it would not help."""
    await fill_hours(tables, 3, 100)
    tables.connection.run(
        f"INSERT INTO `{tables.database}`.erased_ids_rows (workspace_id, digest) "
        "SELECT 'ws', randomPrintableASCII(100) FROM numbers(20000)"
    )
    with pytest.raises(HeadraceError, match="nothing is deleted"):
        await tables.store.delete_beyond(size(tables) - 1_000, MORNING + timedelta(days=1))
    assert len(tables.events()) == 300


async def test_what_is_young_is_not_deleted_for_want_of_room(tables: ServerTables) -> None:
    """The last hour stays whatever the bound says."""
    await fill_hours(tables, 3, 1_000)
    now = MORNING + timedelta(hours=2, minutes=30)
    bound = size(tables) * 3 // 10
    assert await tables.store.delete_beyond(bound, now) == 2_000
    await until_at_rest(tables)
    assert [row[1] for row in tables.events()] == list(range(2_001, 3_001))
    assert await tables.store.delete_beyond(bound // 2, now) == 0
