"""What people may take: time, memory, rows, slots; and that the processor never waits for them."""

from __future__ import annotations

import socket
import threading
import time
import zlib
from collections.abc import Iterator

import pytest

from headrace.store.server.limits import StoreLimits
from headrace.workspaces.port import Role
from tests.store.asking import Answer, ask, basic, request, statements
from tests.store.server_fixture import (
    ANALYST,
    OPERATOR,
    PROCESSOR,
    StoreServer,
    store_user,
    test_directory,
)
from tests.store.server_process import wait_for

pytestmark = pytest.mark.node

MEBIBYTE = 1024 * 1024
ENDED_BY = {None, 36, 46, 69, 131, 158, 159, 167, 191, 241, 306, 307, 395, 396}
"""What the engine says of too much, and of texts and arrays it does not make; None: it answered."""
ENDLESS = "SELECT count() FROM numbers(1e15) WHERE NOT ignore(sipHash64(number))"
RUNNING = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT count() FROM numbers(%'"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """A server that allows little."""
    limits = StoreLimits(
        max_queries=3,
        query_seconds=20,
        query_bytes=100 * MEBIBYTE,
        query_threads=1,
        result_rows=200_000,
        whole_result_bytes=MEBIBYTE,
        query_wait_seconds=0.3,
        insert_bytes=MEBIBYTE,
        read_rows=10**15,
    )
    directory = test_directory()
    directory.users["second"] = store_user("second", Role.OPERATOR, "headrace")
    folder = tmp_path_factory.mktemp("small")
    with StoreServer(folder, directory=directory, limits=limits) as server:
        for database in ("headrace", "ws_one", "ws_two"):
            ask(server, PROCESSOR, f"CREATE DATABASE {database}")
        ask(server, PROCESSOR, "CREATE TABLE headrace.t (s String) ENGINE = MergeTree ORDER BY s")
        yield server


def running(server: StoreServer) -> int:
    return int(ask(server, PROCESSOR, RUNNING).text)


class Asking(threading.Thread):
    """A query in a thread, with its answer."""

    def __init__(self, server: StoreServer, user: str, sql: str = ENDLESS, **url: str) -> None:
        super().__init__(daemon=True)
        self.answer: Answer | None = None
        self._request = (server, user, sql)
        self._url = url
        self.start()

    def run(self) -> None:
        self.answer = ask(*self._request, url=self._url)


class HangingUp:
    """A client that sends a query and goes before the answer."""

    def __init__(self, server: StoreServer, user: str, sql: str = ENDLESS) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port))
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(sql)}\r\n"
        token = basic(user)["Authorization"]
        self._socket.sendall(f"{head}Authorization: {token}\r\n\r\n{sql}".encode())

    def hang_up(self) -> None:
        self._socket.close()


def test_a_query_ends_at_its_time(small: StoreServer) -> None:
    """408 with the server's code, at the client's limit if that is lower."""
    answer = ask(small, ANALYST, ENDLESS, max_execution_time="0.5")

    assert (answer.status, answer.code) == (408, 159)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT length(groupArray(repeat('x', 1000))) FROM numbers(1000000)",
        "SELECT count() FROM (SELECT number, repeat('x', 500) FROM numbers(1e6) ORDER BY rand())"
        " SETTINGS max_block_size = 65536",
        "SELECT uniqExact(number) FROM numbers(1e8)",
        "SELECT arrayReduce('sum', range(100000000))",
    ],
)
def test_a_query_ends_at_its_memory(small: StoreServer, sql: str) -> None:
    """The server goes on. Sorting goes to disk instead, and may end."""
    answer = ask(small, ANALYST, sql)

    assert answer.code == 241 or "ORDER BY" in sql, answer.text
    assert answer.code in {None, 241}, answer.text
    assert ask(small, ANALYST, "SELECT 1").text == "1\n"


def test_a_result_has_a_bound(small: StoreServer) -> None:
    """In rows for all, in bytes for formats that are made whole; never silently cut."""
    assert ask(small, ANALYST, "SELECT number FROM numbers(200001)").code == 396
    long = "SELECT repeat(materialize('x'), 1000) FROM numbers(10000) FORMAT JSON"
    assert ask(small, ANALYST, long).code == 396
    assert ask(small, ANALYST, long.replace("JSON", "JSONEachRow")).status == 200
    assert ask(small, ANALYST, "SELECT number FROM numbers(5)", max_result_rows="3").code == 396


def test_rows_read_have_a_bound(small: StoreServer) -> None:
    """Said without how many there are: rows of others lie in the same granules."""
    too_many = "SELECT sum(number) FROM numbers(2345000000000000)"
    assert ask(small, OPERATOR, too_many).code == 158
    answer = ask(small, ANALYST, too_many)
    assert answer.code == 158
    assert "more rows than one query may (1.00 quadrillion); ask for less time" in answer.text
    assert "2.3" not in answer.text
    assert ask(small, ANALYST, "SELECT 1", max_rows_to_read="1").code == 164
    assert ask(small, ANALYST, "SELECT 1", read_overflow_mode="break").code == 164


@pytest.mark.parametrize("blanks", [" ", "\\n", ". ", "Maybe you meant", " (version "])
def test_a_long_error_holds_nobody_up(small: StoreServer, blanks: str) -> None:
    """Whatever fills it: what looks into it goes through it once. (It took hours.)"""
    answer = ask(small, ANALYST, f"SELECT throwIf(1, repeat('{blanks}', 500000))")
    assert answer.code == 395
    assert len(answer.text) < 5_000
    assert ask(small, ANALYST, "SELECT 1").text == "1\n"


@pytest.mark.parametrize("sql", statements("exhaustions.sql"))
def test_nothing_wears_the_server_out(small: StoreServer, sql: str) -> None:
    """It ends well, or by a limit; not by the death of the server, and the next one is answered."""
    answer = ask(small, ANALYST, sql, max_execution_time="2")
    assert answer.status != 200 or answer.code is None
    assert answer.code in ENDED_BY, answer.text[:500]
    assert ask(small, ANALYST, "SELECT 1").text == "1\n"


@pytest.mark.parametrize("depth", [1_000, 20_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("(", ")"), ("[", "]"), ("-", ""), ("NOT ", "")])
def test_deep_nesting_is_refused(
    small: StoreServer, opening: str, closing: str, depth: int
) -> None:
    """However deep: the parser's stack is the server's own."""
    answer = ask(small, ANALYST, f"SELECT {opening * depth}1{closing * depth}")
    assert answer.code in ENDED_BY | {62, 229}, answer.text[:500]
    assert ask(small, ANALYST, "SELECT 1").text == "1\n"


def test_anothers_query_id_reaches_nothing(small: StoreServer) -> None:
    """A query under the id of one that runs neither ends it nor takes its place."""
    first = Asking(small, ANALYST, ENDLESS, query_id="q", max_execution_time="10")
    wait_for(lambda: running(small) == 1)
    for more in ({}, {"replace_running_query": "1"}):
        answer = ask(small, "second", "SELECT 1", url={"query_id": "q"} | more)
        assert answer.text == "1\n" or answer.code in {115, 164, 216}, answer.text
        assert ask(small, "second", "KILL QUERY WHERE query_id = 'q'").text == ""
    assert running(small) == 1
    first.join(30)
    assert first.answer is not None
    assert first.answer.code == 159


def test_an_insert_has_a_bound(small: StoreServer) -> None:
    """After decompression; and what came before it is not stored."""
    body = zlib.compress(b"x\n" * MEBIBYTE)
    headers = {**basic(PROCESSOR), "Content-Encoding": "deflate"}
    path = "/?query=INSERT%20INTO%20headrace.t%20FORMAT%20TSV"
    answer = request(small, "POST", path, headers=headers, body=body)

    assert (answer.status, answer.code) == (413, 229)
    assert ask(small, PROCESSOR, "SELECT count() FROM headrace.t").text == "0\n"


def test_a_client_that_hangs_up_ends_its_query(small: StoreServer) -> None:
    """Its slot is free again."""
    client = HangingUp(small, ANALYST)
    wait_for(lambda: running(small) == 1)
    client.hang_up()

    wait_for(lambda: running(small) == 0)
    assert ask(small, ANALYST, "SELECT 1").text == "1\n"


def test_a_client_that_hangs_up_amid_a_stream_ends_its_query(small: StoreServer) -> None:
    """Also when the first rows were sent already, and the processor's as well."""
    for user in (ANALYST, PROCESSOR):
        sql = "SELECT count() FROM numbers(1e15) GROUP BY number % 2" if user == PROCESSOR else (
            "SELECT number FROM numbers(1e15) LIMIT 1e15 SETTINGS max_result_rows = 200000"
        )  # fmt: skip
        client = HangingUp(small, user, sql)
        time.sleep(0.2)
        client.hang_up()

        wait_for(lambda: running(small) == 0)


def test_one_user_cannot_take_every_slot(small: StoreServer) -> None:
    """With three slots a user has two; the third is another's, and who finds none is told."""
    greedy = [HangingUp(small, OPERATOR) for _ in range(4)]
    try:
        wait_for(lambda: running(small) == 2)
        assert ask(small, "second", "SELECT 1").text == "1\n"
        refused = ask(small, OPERATOR, "SELECT 1")
        assert (refused.status, refused.code) == (503, 202)
        assert refused.headers["retry-after"] == "1"
        assert running(small) == 2
    finally:
        for client in greedy:
            client.hang_up()
    wait_for(lambda: running(small) == 0)


def test_a_slot_that_becomes_free_is_given_on(small: StoreServer) -> None:
    """Whoever waits is served, not refused."""
    greedy = [HangingUp(small, OPERATOR) for _ in range(2)]
    wait_for(lambda: running(small) == 2)
    waiting = Asking(small, OPERATOR, "SELECT 7")
    greedy[0].hang_up()
    waiting.join(30)
    greedy[1].hang_up()

    assert waiting.answer is not None
    assert waiting.answer.text == "7\n" or waiting.answer.code == 202
    wait_for(lambda: running(small) == 0)


def test_the_processor_does_not_wait_for_people(small: StoreServer) -> None:
    """All slots taken, its inserts and questions go through."""
    people = [HangingUp(small, OPERATOR) for _ in range(2)] + [HangingUp(small, "second")]
    try:
        wait_for(lambda: running(small) == 3)
        for number in range(10):
            answer = ask(small, PROCESSOR, f"INSERT INTO headrace.t VALUES ('p{number}')")
            assert answer.status == 200, answer.text
        assert ask(small, PROCESSOR, "SELECT count() FROM headrace.t").text == "10\n"
        assert running(small) == 3
    finally:
        for client in people:
            client.hang_up()
        ask(small, PROCESSOR, "TRUNCATE TABLE headrace.t")
    wait_for(lambda: running(small) == 0)


def test_an_insert_that_is_cut_off_stores_nothing(small: StoreServer) -> None:
    """A chunked body without its end is no body."""
    with socket.create_connection(("127.0.0.1", small.port)) as client:
        token = basic(PROCESSOR)["Authorization"]
        client.sendall(
            b"POST /?query=INSERT%20INTO%20headrace.t%20FORMAT%20TSV HTTP/1.1\r\nHost: x\r\n"
            b"Transfer-Encoding: chunked\r\nAuthorization: " + token.encode() + b"\r\n\r\n"
            b"4\r\nab\nc\r\n"
        )
        time.sleep(0.3)
    time.sleep(0.3)

    assert ask(small, PROCESSOR, "SELECT count() FROM headrace.t").text == "0\n"


def test_a_session_serves_one_query_at_a_time(small: StoreServer) -> None:
    """Code 373 for the second; another user's session of the same name is another."""
    first = Asking(small, OPERATOR, ENDLESS, session_id="mine", max_execution_time="10")
    wait_for(lambda: running(small) == 1)

    assert ask(small, OPERATOR, "SELECT 1", session_id="mine").code == 373
    assert ask(small, "second", "SELECT 1", session_id="mine").text == "1\n"
    assert ask(small, OPERATOR, "SELECT 1", session_id="other").text == "1\n"
    first.join(30)
    assert ask(small, OPERATOR, "SELECT 1", session_id="mine").text == "1\n"


def test_a_session_keeps_what_was_set(small: StoreServer) -> None:
    """For its user alone, and for no request without it."""
    sql = "SELECT value FROM system.settings WHERE name = 'join_use_nulls'"
    ask(small, OPERATOR, "SET join_use_nulls = 1", session_id="kept")
    ask(small, OPERATOR, "USE ws_two", session_id="kept")

    assert ask(small, OPERATOR, sql, session_id="kept").text == "1\n"
    database = ask(small, OPERATOR, "SELECT currentDatabase()", session_id="kept").text
    assert database == "ws_two\n"
    assert ask(small, OPERATOR, sql).text == "0\n"
    assert ask(small, "second", sql, session_id="kept").text == "0\n"
    assert ask(small, OPERATOR, sql, session_id="kept", join_use_nulls="0").text == "0\n"


def test_a_session_that_must_exist(small: StoreServer) -> None:
    """`session_check`; and a time-out that is none."""
    missing = ask(small, OPERATOR, "SELECT 1", session_id="none", session_check="1")
    assert (missing.status, missing.code) == (500, 372)
    bad = ask(small, OPERATOR, "SELECT 1", session_id="none", session_timeout="x")
    assert bad.code == 374


def test_endless_headers_are_cut_off(small: StoreServer) -> None:
    """Before anybody logged in; the server goes on."""
    with socket.create_connection(("127.0.0.1", small.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        with pytest.raises(ConnectionError):
            client.sendall(b"x" * 100 * MEBIBYTE)
    assert ask(small, ANALYST, "SELECT 1").text == "1\n"


def test_a_long_url_is_taken(small: StoreServer) -> None:
    """Arrays of parameters travel there, up to 64 KiB; longer ones in a form."""
    numbers = "[" + ",".join(str(number) for number in range(7_000)) + "]"
    answer = ask(small, ANALYST, "SELECT length({a:Array(UInt32)})", param_a=numbers)

    assert answer.text == "7000\n"
