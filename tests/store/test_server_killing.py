"""A query that is given up, by `KILL QUERY` as drivers send it: one's own, and nobody else's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from headrace.store.server.killing import read_kill
from headrace.store.server.limits import StoreLimits
from tests.store.asking import Answer, ask
from tests.store.server_fixture import ANALYST, OPERATOR, OTHER_ANALYST, PROCESSOR, StoreServer

ENDLESS = "SELECT count() FROM numbers(1e15) WHERE NOT ignore(sipHash64(number))"
CANCELLED = 394


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """One query at a time, as long as it likes."""
    limits = StoreLimits(max_queries=1, query_seconds=60, query_wait_seconds=30, read_rows=10**15)
    with StoreServer(tmp_path_factory.mktemp("narrow"), limits=limits) as server:
        for database in ("headrace", "ws_one", "ws_two"):
            ask(server, PROCESSOR, f"CREATE DATABASE {database}")
        yield server


def kill(server: StoreServer, user: str, query_id: str, rest: str = "") -> Answer:
    return ask(server, user, f"KILL QUERY WHERE query_id = '{query_id}'{rest}")


def begin(threads: ThreadPoolExecutor, server: StoreServer, query_id: str) -> Future[Answer]:
    """The analyst's query without an end, once it runs."""
    begun = threads.submit(ask, server, ANALYST, ENDLESS, query_id=query_id)
    tag = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT count() FROM numbers(%'"
    while ask(server, PROCESSOR, tag).body != b"1\n":
        time.sleep(0.02)
    return begun


@pytest.mark.node
def test_ones_own_query_is_ended(narrow: StoreServer) -> None:
    """The only slot is taken by the query that is to end."""
    with ThreadPoolExecutor(1) as threads:
        begun = begin(threads, narrow, "mine")
        answer = kill(narrow, ANALYST, "mine", " SYNC FORMAT CSVWithNames")
        assert answer.text == (
            '"kill_status","query_id","user","query"\n"finished","mine","analyst",""\n'
        )
        assert begun.result(timeout=10).code == CANCELLED


@pytest.mark.node
@pytest.mark.parametrize("user", [OTHER_ANALYST, OPERATOR])
def test_nobody_elses_query_is_ended(narrow: StoreServer, user: str) -> None:
    """It answers as for a query that is not there, once the slot is free."""
    with ThreadPoolExecutor(2) as threads:
        begun = begin(threads, narrow, "theirs")
        other = threads.submit(kill, narrow, user, "theirs")
        time.sleep(0.5)  # it waits for the slot, which it would have if it had ended the query
        assert not begun.done()
        assert not other.done()
        assert kill(narrow, ANALYST, "theirs").text == "finished\ttheirs\tanalyst\t\n"
        assert begun.result(timeout=10).code == CANCELLED
        assert other.result(timeout=40).text == ""


@pytest.mark.node
@pytest.mark.parametrize(
    "sql",
    [
        "KILL QUERY WHERE user = 'analyst'",
        "KILL QUERY WHERE query_id = 'a' OR 1",
        "KILL QUERY WHERE query_id IN (SELECT query_id FROM system.processes)",
        "KILL QUERY WHERE query_id = 'a' TEST",
        "KILL MUTATION WHERE mutation_id = 'a'",
        "KILL QUERY WHERE query_id = 'a'; SELECT 1",
    ],
)
def test_other_forms_are_refused(narrow: StoreServer, sql: str) -> None:
    """None reaches the engine."""
    assert read_kill(sql) is None
    assert ask(narrow, ANALYST, sql).code in {62, 497}


@pytest.mark.parametrize(
    "sql",
    [
        "KILL QUERY WHERE query_id = 'a-b_1'",
        "  kill query where query_id='a-b_1' async ; ",
        "KILL QUERY ON CLUSTER `some` WHERE query_id = 'a-b_1' SYNC",
    ],
)
def test_what_drivers_send(sql: str) -> None:
    """JDBC among them."""
    found = read_kill(sql)
    assert found is not None
    assert found.query_id == "a-b_1"
