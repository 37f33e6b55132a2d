"""An analyst's database: one workspace, no log, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from headrace.store.analysts import VIEWS, NotAWorkspace, create_database, drop_database
from tests.store.harness import (
    MORNING,
    ServerTables,
    duplicate_row,
    event_row,
    link_row,
    rejected_row,
)

OWN, OTHER = "ws_one", "ws_two"


@pytest.fixture
def filled(tables: ServerTables) -> Iterator[ServerTables]:
    """Two workspaces with the same ids in them, one with an analyst's database."""

    async def fill() -> None:
        store = tables.store
        for number, workspace in enumerate((OWN, OTHER)):
            changes = {"workspace_id": workspace}
            await store.insert_events([event_row(number, **changes)], token=workspace)
            await store.insert_rejected([rejected_row(number + 10, **changes)], token=workspace)
            await store.insert_duplicates([duplicate_row(number + 20, **changes)], token=workspace)
            user = f"user of {workspace}"
            await store.insert_links([link_row("device", user, workspace_id=workspace)])
        await store.refresh_identities()

    asyncio.run(fill())
    create_database(tables.connection, OWN, tables.database)
    yield tables
    drop_database(tables.connection, OWN)


def columns(tables: ServerTables, database: str, view: str) -> list[str]:
    rows = tables.rows(
        f"SELECT name FROM system.columns WHERE database = '{database}' AND table = '{view}' "
        "ORDER BY position"
    )
    return [row[0] for row in rows]


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_holds_one_workspace(filled: ServerTables, view: str) -> None:
    """The rows of the other are not there, whatever is asked."""
    rows = filled.rows(f"SELECT workspace_id FROM {OWN}.{view}")
    assert rows == [(OWN,)]
    assert (
        filled.rows(f"SELECT workspace_id FROM {OWN}.{view} WHERE workspace_id = '{OTHER}'") == []
    )


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_shows_all_but_the_logs_columns(filled: ServerTables, view: str) -> None:
    """Where a record lay in the log is the operator's business."""
    whole = columns(filled, filled.database, view)
    assert columns(filled, OWN, view) == [
        column for column in whole if not column.startswith(("log_", "kept_log_"))
    ]


def test_people_resolve_within_the_workspace(filled: ServerTables) -> None:
    """The same device of another workspace is somebody else."""
    assert filled.rows(f"SELECT person_id, properties.a FROM {OWN}.events") == [
        (f"user of {OWN}", 1)
    ]
    assert filled.rows(f"SELECT user_id, linked_at FROM {OWN}.identity_links") == [
        (f"user of {OWN}", MORNING)
    ]


def test_making_it_again_changes_nothing(filled: ServerTables) -> None:
    """As every start does, so that views follow the tables."""
    assert create_database(filled.connection, OWN, filled.database) == OWN
    assert filled.rows(f"SELECT count() FROM {OWN}.events") == [(1,)]


def test_dropping_it_leaves_the_rows(filled: ServerTables) -> None:
    """And may be done twice."""
    drop_database(filled.connection, OWN)
    drop_database(filled.connection, OWN)
    assert len(filled.events()) == 2


@pytest.mark.parametrize("view", ["events", "rejected_events"])
def test_the_filter_reaches_the_key_of_the_table(filled: ServerTables, view: str) -> None:
    """Another workspace's rows are not even read."""
    plan = "\n".join(
        row[0] for row in filled.rows(f"EXPLAIN indexes = 1 SELECT event_id FROM {OWN}.{view}")
    )
    assert f"workspace_id in ['{OWN}', '{OWN}']" in plan


@pytest.mark.parametrize("name", ["", "one", "ws_", "ws_a`b", "ws_a.b", "ws_ü", "ws_" + "a" * 65])
def test_only_a_workspaces_id_makes_a_database(tables: ServerTables, name: str) -> None:
    """Anything else is refused before it becomes SQL."""
    with pytest.raises(NotAWorkspace, match="no id of a workspace"):
        create_database(tables.connection, name, tables.database)
