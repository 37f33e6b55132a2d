"""The wall with the tables and views that are shipped, not only those made to leak."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.store.asking import ask, statements
from tests.store.server_fixture import ANALYST, OPERATOR, StoreServer
from tests.store.two_workspaces import OWN_ROWS, SECRET, make_two_shipped_workspaces

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("shipped")) as server:
        make_two_shipped_workspaces(server)
        yield server


@pytest.mark.parametrize("sql", statements("shipped_leaks.sql"))
def test_no_predicate_sees_another_workspaces_row(shipped: StoreServer, sql: str) -> None:
    """A predicate that would fail on a row of workspace two does not fail."""
    answer = ask(shipped, ANALYST, sql)

    assert answer.status == 200, answer.text
    assert SECRET not in answer.text


@pytest.mark.parametrize("sql", statements("harmless.sql"))
def test_an_analyst_may_ask_this(shipped: StoreServer, sql: str) -> None:
    """What analysts ask is answered through the shipped views."""
    answer = ask(shipped, ANALYST, sql)

    assert answer.status == 200, answer.text
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("events", OWN_ROWS),
        ("rejected_events", OWN_ROWS),
        ("deduplicated_events", OWN_ROWS),
        ("identity_links", 1_000),
    ],
)
def test_every_view_holds_one_workspace(shipped: StoreServer, table: str, rows: int) -> None:
    """All of its rows, and no other's."""
    own = f"SELECT count(), uniqExact(workspace_id), any(workspace_id) FROM {table}"

    assert ask(shipped, ANALYST, own).text == f"{rows}\t1\tws_one\n"
    everything = ask(shipped, OPERATOR, f"SELECT count() FROM headrace.{table}").text
    assert int(everything) == 2 * rows


def test_every_table_of_workspaces_is_filtered_for_analysts(shipped: StoreServer) -> None:
    """The wall's second course: each table that says whose a row is, by name."""
    filters = ask(
        shipped, ANALYST,
        "SELECT value FROM system.settings WHERE name = 'additional_table_filters' FORMAT TSVRaw",
    ).text  # fmt: skip

    for table in ("events", "rejected_events", "deduplicated_events", "identity_links"):
        assert f"headrace.{table}_rows" in filters
