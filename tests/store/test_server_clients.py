"""The clients people have: clickhouse-connect, synchronous and asynchronous, and curl."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import clickhouse_connect
import pytest
import sqlalchemy
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from tests.store.server_fixture import ANALYST, OPERATOR, PASSWORD, PROCESSOR, StoreServer
from tests.store.two_workspaces import OWN_ROWS

pytestmark = pytest.mark.node

NOTEBOOK = """
import json, sys, clickhouse_connect
port, user, password = sys.argv[1:]
client = clickhouse_connect.get_client(
    host="127.0.0.1", port=int(port), username=user, password=password, database="ws_one")
sql = "SELECT event, count() AS n FROM events GROUP BY event ORDER BY event"
frame, table = client.query_df(sql), client.query_arrow(sql)
print(json.dumps([
    list(frame.columns), list(frame["event"]), table.column("event").to_pylist(),
    int(frame["n"].sum()), sum(table.column("n").to_pylist())]))
"""


@pytest.fixture
def analyst(two_workspaces: StoreServer) -> Iterator[Client]:
    client = two_workspaces.client(ANALYST)
    yield client
    client.close()


@pytest.fixture
def processor(two_workspaces: StoreServer) -> Iterator[Client]:
    client = two_workspaces.client(PROCESSOR)
    yield client
    client.close()


@pytest.fixture
async def asynchronous(two_workspaces: StoreServer) -> AsyncIterator[AsyncClient]:
    client = await clickhouse_connect.get_async_client(
        host="127.0.0.1",
        port=two_workspaces.port,
        username=ANALYST,
        password=PASSWORD,
        database="ws_one",
    )
    yield client
    await client.close()


def test_it_connects_pings_and_asks(analyst: Client) -> None:
    """What a notebook does first."""
    assert analyst.ping()
    assert analyst.query("SELECT count() FROM events").result_rows == [(OWN_ROWS,)]
    assert analyst.command("SELECT currentDatabase()") == "ws_one"
    assert analyst.command("SHOW TABLES") == "events"
    assert analyst.command("EXISTS TABLE events") == 1


def test_the_session_of_a_client_is_free_for_its_next_query(analyst: Client) -> None:
    """It sends a session id with every query, one right after the other."""
    for number in range(50):
        assert analyst.query(f"SELECT {number}").first_row == (number,)


def test_it_connects_without_naming_a_database(two_workspaces: StoreServer) -> None:
    """Then the user's own is the current one."""
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=two_workspaces.port, username=ANALYST, password=PASSWORD
    )
    assert client.command("SELECT currentDatabase()") == "ws_one"
    client.close()


def test_parameters_of_a_client(analyst: Client) -> None:
    """Bound by the server, whatever is in them."""
    rows = analyst.query(
        "SELECT {n:Int64}, {s:String}, {a:Array(String)}, {t:DateTime64(6, 'UTC')}, {f:Float64}",
        parameters={
            "n": -5,
            "s": "it's\ta \\ 'b'\n",
            "a": ["x'y", "z\\", "tab\t"],
            "t": datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
            "f": 1.5,
        },
    ).result_rows

    when = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    assert rows[0][:3] == (-5, "it's\ta \\ 'b'\n", ["x'y", "z\\", "tab\t"])
    assert rows[0][3].replace(tzinfo=UTC) == when
    assert rows[0][4] == 1.5


def test_many_parameters_go_in_a_form(two_workspaces: StoreServer) -> None:
    """`form_encode_query_params`, for those that are too long for a URL."""
    client = two_workspaces.client(ANALYST, form_encode_query_params=True)
    numbers = list(range(5_000))
    rows = client.query("SELECT length({a:Array(UInt32)})", parameters={"a": numbers}).result_rows
    client.close()

    assert rows == [(5_000,)]


def test_types_arrive(analyst: Client) -> None:
    """Native carries them all."""
    rows = analyst.query(
        "SELECT toUInt64(18446744073709551615), toInt128(-1), 1.5, 'ä', toDate('2026-01-02'),"
        " [1, 2], map('a', 1), tuple(1, 'b'), NULL, toLowCardinality('x'), true,"
        " toDecimal64('1.25', 2), toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0'),"
        ' \'{"a":{"b":1}}\'::JSON'
    ).result_rows
    row = rows[0]

    assert row[0] == 2**64 - 1
    assert row[3] == "ä"
    assert list(row[5]) == [1, 2]
    assert row[6] == {"a": 1}
    assert row[8] is None
    assert row[10] is True
    assert row[13] == {"a": {"b": 1}}


def test_errors_carry_their_code(two_workspaces: StoreServer, analyst: Client) -> None:
    """`DatabaseError` with the server's text."""
    with pytest.raises(DatabaseError, match=r"code: 47, .*UNKNOWN_IDENTIFIER"):
        analyst.query("SELECT nope")
    with pytest.raises(DatabaseError, match=r"code: 497, .*ACCESS_DENIED"):
        analyst.query("SELECT * FROM headrace.events_rows")
    with pytest.raises(DatabaseError, match="code: 516"):
        clickhouse_connect.get_client(
            host="127.0.0.1", port=two_workspaces.port, username=ANALYST, password="wrong"
        )


def test_settings_of_a_client(two_workspaces: StoreServer, analyst: Client) -> None:
    """For one query and for the client's whole life; those not for people are refused."""
    sql = "SELECT a.k, b.v FROM (SELECT 1 AS k) AS a LEFT JOIN (SELECT 2 AS k, 3 AS v) AS b USING k"

    assert analyst.query(sql).first_row == (1, 0)
    assert analyst.query(sql, settings={"join_use_nulls": 1}).first_row == (1, None)
    with pytest.raises(DatabaseError, match="code: 164"):
        analyst.query(sql, settings={"optimize_move_to_prewhere": 1})
    always = two_workspaces.client(ANALYST, settings={"join_use_nulls": 1})
    assert always.query(sql).first_row == (1, None)
    always.close()


def test_blocks_are_streamed(analyst: Client) -> None:
    """Rows can be read while the query runs."""
    with analyst.query_row_block_stream(
        "SELECT number, toString(number) FROM numbers(500000)"
    ) as s:
        assert sum(len(block) for block in s) == 500_000


def test_an_error_amid_a_stream_is_raised(analyst: Client) -> None:
    """Not mistaken for the end of the result."""
    sql = "SELECT throwIf(number = 2900000) FROM numbers(3000000)"
    analyst_settings = {"wait_end_of_query": 0}
    with (
        pytest.raises((StreamFailureError, DatabaseError)),
        analyst.query_row_block_stream(sql, settings=analyst_settings) as stream,
    ):
        for _ in stream:
            pass


@pytest.mark.parametrize("compression", ["lz4", "zstd", "gzip", False])
def test_answers_and_inserts_are_compressed(
    two_workspaces: StoreServer, compression: str | bool
) -> None:
    """Whatever the client is set to."""
    client = two_workspaces.client(PROCESSOR, compress=compression)
    table = f"headrace.packed_{compression or 'plain'}".lower()
    client.command(f"CREATE TABLE {table} (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    rows = [[number, "x" * 100] for number in range(20_000)]
    written = client.insert(table, rows, column_names=["a", "s"]).written_rows
    held = client.query(f"SELECT count(), sum(a), any(s) FROM {table}").first_row
    long = client.query(f"SELECT a, s FROM {table}").result_rows
    client.close()

    assert written == 20_000
    assert held == (20_000, 199_990_000, "x" * 100)
    assert len(long) == 20_000


def test_inserts_of_every_form(processor: Client) -> None:
    """Native blocks, text rows, a statement with its values, a statement with a question."""
    processor.command(
        "CREATE TABLE headrace.forms (a UInt64, s String) ENGINE = MergeTree ORDER BY a"
    )
    processor.insert("headrace.forms", [[1, "native"]], column_names=["a", "s"])
    processor.raw_insert("headrace.forms", ["a", "s"], b"2\ttext\n3\ttext\n", fmt="TabSeparated")
    processor.raw_insert("headrace.forms", ["a", "s"], b'{"a":4,"s":"json"}\n', fmt="JSONEachRow")
    processor.command("INSERT INTO headrace.forms VALUES (5, 'va(lu)es'), (6, 'FORMAT x')")
    processor.command("INSERT INTO headrace.forms (a, s) SELECT 7, 'select'")
    processor.command("/* c */ INSERT INTO headrace.forms (a, s) FORMAT CSV\n8,'csv'\n")

    rows = processor.query("SELECT groupArray(a) FROM (SELECT a FROM headrace.forms ORDER BY a)")
    assert rows.first_row == ([1, 2, 3, 4, 5, 6, 7, 8],)


def test_a_bad_insert_stores_nothing(processor: Client) -> None:
    """And says why, and the next one works."""
    processor.command("CREATE TABLE headrace.bad (a UInt8) ENGINE = MergeTree ORDER BY a")
    with pytest.raises(DatabaseError, match="code: 27"):
        processor.raw_insert("headrace.bad", ["a"], b"1\n2\nx\n", fmt="TabSeparated")
    with pytest.raises(DatabaseError, match="code: 60"):
        processor.raw_insert("headrace.nope", ["a"], b"1\n", fmt="TabSeparated")
    processor.raw_insert("headrace.bad", ["a"], b"9\n", fmt="TabSeparated")

    assert processor.query("SELECT a FROM headrace.bad").result_rows == [(9,)]


def test_an_insert_is_one_block_and_its_token_counts(processor: Client) -> None:
    """The same token again adds nothing, the settings of the URL reach the insert."""
    processor.command(
        "CREATE TABLE headrace.tokens (a UInt64) ENGINE = MergeTree ORDER BY a"
        " SETTINGS non_replicated_deduplication_window = 100"
    )
    rows = [[number] for number in range(50_000)]
    for token in ("one", "one", "two"):
        processor.insert(
            "headrace.tokens", rows, column_names=["a"],
            settings={"insert_deduplication_token": token},
        )  # fmt: skip

    parts = "SELECT count() FROM headrace.tokens"
    assert processor.query(parts).first_row == (100_000,)


def test_people_cannot_insert(two_workspaces: StoreServer) -> None:
    """Neither through a client."""
    for user, table in ((ANALYST, "ws_one.events"), (OPERATOR, "headrace.events_rows")):
        client = two_workspaces.client(user)
        with pytest.raises(DatabaseError, match="code: 497"):
            client.insert(table, [["x"]], column_names=["event_id"])
        client.close()


async def test_the_asynchronous_client(asynchronous: AsyncClient) -> None:
    """The same questions, awaited, one session."""
    assert await asynchronous.ping()
    rows = (await asynchronous.query("SELECT count() FROM events")).result_rows
    assert rows == [(OWN_ROWS,)]
    bound = await asynchronous.query("SELECT {a:Array(String)}", parameters={"a": ["x", "y'"]})
    assert bound.first_row == (["x", "y'"],)
    with pytest.raises(DatabaseError, match="code: 497"):
        await asynchronous.query("SELECT * FROM ws_two.events")
    stream = await asynchronous.query_row_block_stream("SELECT number FROM numbers(300000)")
    async with stream:
        assert sum([len(block) async for block in stream]) == 300_000


async def test_the_asynchronous_client_inserts(two_workspaces: StoreServer) -> None:
    """As the processor's user."""
    client = await clickhouse_connect.get_async_client(
        host="127.0.0.1", port=two_workspaces.port, username=PROCESSOR, password=PASSWORD,
        database="headrace",
    )  # fmt: skip
    await client.command("CREATE TABLE awaited (a UInt64) ENGINE = MergeTree ORDER BY a")
    await client.insert("awaited", [[1], [2]], column_names=["a"])

    assert (await client.query("SELECT sum(a) FROM awaited")).first_row == (3,)
    await client.close()


def test_curl(two_workspaces: StoreServer) -> None:
    """The line of the README, with the password in the URL's user part."""
    assert shutil.which("curl"), "curl is wanted by this test"
    url = f"http://{ANALYST}:{PASSWORD}@127.0.0.1:{two_workspaces.port}/"
    asked = ["SELECT count() FROM events", "SELECT throwIf(1)"]
    answers = [
        subprocess.run(
            ["curl", "-sS", "--compressed", "--data-binary", sql, url], capture_output=True
        ).stdout
        for sql in asked
    ]

    assert answers[0] == b"2500\n"
    assert answers[1].startswith(b"Code: 395")


def test_data_frames_and_arrow(two_workspaces: StoreServer) -> None:
    """What notebooks are filled from; in a process of its own, for ours keeps pandas out."""
    where = [str(two_workspaces.port), ANALYST, PASSWORD]
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK, *where], capture_output=True, text=True, check=True
    )
    events = ["a", "b", "c"]
    assert json.loads(done.stdout) == [["event", "n"], events, events, OWN_ROWS, OWN_ROWS]


def test_the_sqlalchemy_dialect(two_workspaces: StoreServer) -> None:
    """Superset looks at tables and columns like this, and asks with parameters."""
    address = f"127.0.0.1:{two_workspaces.port}/ws_one"
    engine = sqlalchemy.create_engine(f"clickhousedb://{ANALYST}:{PASSWORD}@{address}")
    try:
        found = sqlalchemy.inspect(engine)
        assert "ws_one" in found.get_schema_names()
        assert found.get_table_names(schema="ws_one") == ["events"]
        columns = {column["name"] for column in found.get_columns("events", schema="ws_one")}
        assert {"event", "person_id", "timestamp", "properties"} <= columns
        with engine.connect() as connection:
            sql = sqlalchemy.text("SELECT count() FROM events WHERE user_id = :user")
            assert connection.execute(sql, {"user": "0"}).scalar() == 1
            with pytest.raises(sqlalchemy.exc.DatabaseError, match="UNKNOWN_IDENTIFIER"):
                connection.execute(sqlalchemy.text("SELECT nothing_of_this_name"))
    finally:
        engine.dispose()
