"""The wall with the tables and views that are shipped, not only those made to leak."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from tests.store.asking import NOT_THERE, REFUSED, ask, basic, get, request, statements
from tests.store.server_fixture import ANALYST, OPERATOR, OTHER_ANALYST, PROCESSOR, StoreServer
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


@pytest.fixture(scope="module")
def things(shipped: StoreServer) -> list[tuple[str, str]]:
    """Database and name of everything that holds or shows rows."""
    found = ask(
        shipped,
        PROCESSOR,
        "SELECT database, name FROM system.tables "
        "WHERE database IN ('headrace', 'ws_one', 'ws_two') FORMAT TSV",
    ).text
    things = [(database, name) for database, name in map(str.split, found.splitlines())]
    assert len(things) > 20
    return things


@pytest.mark.parametrize("sql", statements("escapes_tables.sql"))
def test_nothing_outside_is_reached(
    shipped: StoreServer, things: list[tuple[str, str]], sql: str
) -> None:
    """Whatever it is, whoever asks: refused, and the refusal holds nothing of it."""
    for database, name in things:
        said = sql.replace("{table}", f"{database}.{name}")
        said = said.replace("{database}", database).replace("{name}", name)
        for user, own, asking in ((ANALYST, "ws_one", ask), (OTHER_ANALYST, "ws_two", get)):
            if database != own:
                answer = asking(shipped, user, said)
                assert answer.code in REFUSED | NOT_THERE, (user, said, answer.text)
                assert SECRET not in answer.text, (user, said)


def test_nobody_is_nobody(shipped: StoreServer, things: list[tuple[str, str]]) -> None:
    """Without a login, with a wrong password or another's name there is no table."""
    for database, name in things:
        path = f"/?{urlencode({'query': f'SELECT count() FROM {database}.{name}'})}"
        for headers in ({}, basic(ANALYST, "wrong"), basic("nobody")):
            answer = request(shipped, "GET", path, headers=headers)
            assert answer.status in {401, 403}, answer.text
            assert name not in answer.text


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
