"""`headrace query`: tables and charts for people, bytes for programs, the store's own sentences."""

from __future__ import annotations

import http.server
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from headrace.runtime.commands.query import query
from headrace.runtime.credentials import StoreLogin
from headrace.runtime.store_reader import StoreReader
from headrace.schemas.errors import HeadraceError
from tests.runtime.homes import make_home, point_home_at
from tests.runtime.serving import serving
from tests.store.server_fixture import OPERATOR, PASSWORD, PROCESSOR, StoreServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("store") / "data") as server:
        client = server.client(PROCESSOR, database="default")
        client.command("CREATE DATABASE headrace")
        client.close()
        yield server


@pytest.fixture
def home(tmp_path: Path, server: StoreServer) -> Path:
    return point_home_at(make_home(tmp_path / "home"), server)


def test_a_table_holds_names_and_values(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers to the right; how many rows and how long goes to standard error."""
    query("SELECT number AS n, concat('row ', toString(number)) AS text FROM numbers(3)", home=home)
    printed = capsys.readouterr()
    assert all(word in printed.out for word in ("n", "text", "row 0", "row 2"))
    assert printed.err.startswith("3 rows in ")


def test_a_long_result_is_cut_and_said_to_be(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The number of all rows is told, and how to see them."""
    query("SELECT number FROM numbers(5000)", max_rows=3, home=home)
    printed = capsys.readouterr()
    assert printed.out.count("│") == 2 * 3
    assert "The first 3 of 5,000 rows" in printed.err


@pytest.mark.parametrize(
    ("sql", "name", "expected"),
    [
        ("SELECT 1 AS a, 'x' AS b", "CSV", b'1,"x"\n'),
        ("SELECT toUInt16(513) AS a", "RowBinary", b"\x01\x02"),
        ("SELECT 1 AS a", "JSONEachRow", b'{"a":1}\n'),
        ("SELECT 1 AS a FORMAT TSV", "CSV", b"1\n"),
        ("SELECT 1 AS a FORMAT TSV", None, b"1\n"),
    ],
)
def test_a_format_is_passed_on_byte_for_byte(
    home: Path, capsysbinary: pytest.CaptureFixture[bytes], sql: str, name: str, expected: bytes
) -> None:
    """The SQL's own FORMAT counts before the option, and without it."""
    query(sql, format=name, home=home)
    assert capsysbinary.readouterr().out == expected


def test_sql_may_come_from_standard_input(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-` reads it, so that a file can be piped in."""
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 40 + 2 AS answer\n"))
    query("-", format="JSONEachRow", home=home)
    assert json.loads(capsys.readouterr().out) == {"answer": 42}


def test_a_mistake_is_told_in_the_stores_words(home: Path) -> None:
    """With its code, so that it can be looked up."""
    with pytest.raises(HeadraceError, match=r"Code: 62\. .*SYNTAX_ERROR"):
        query("SELEC 1", home=home)


def test_text_cannot_steer_the_terminal(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever sends an event must not write to the screen of whoever reads it."""
    query("SELECT '[red]a[/red]\\x1b]0;title\\x07' AS text", home=home)
    printed = capsys.readouterr().out
    assert "\x1b]" not in printed
    assert "[red]a[/red]\\x1b]0;title\\x07" in printed


def test_separators_of_lines_inside_text_are_text(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """U+2028 does not end a row."""
    query("SELECT concat('a', char(226, 128, 168), 'b') AS text", home=home)
    assert capsys.readouterr().err.startswith("1 row in ")


def test_another_user_may_ask(
    home: Path, server: StoreServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the password from a file."""
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    query("SELECT 1 AS one", user=OPERATOR, password_file=password, url=server.url, home=home)
    assert "one" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"user": "someone"}, "--user and --password-file are needed together"),
        ({"url": "https://elsewhere.example"}, "say who you are at https://elsewhere.example"),
        ({"url": "http://127.0.0.1:1"}, "cannot be reached"),
    ],
)
def test_what_cannot_be_asked_is_told(home: Path, options: dict[str, Any], message: str) -> None:
    """HOME's operator is nobody elsewhere, and its password is not sent there."""
    with pytest.raises(HeadraceError, match=message):
        query("SELECT 1", home=home, **options)


def test_a_wrong_password_is_told_in_the_stores_words(
    home: Path, server: StoreServer, tmp_path: Path
) -> None:
    """The store refuses, and says so."""
    password = tmp_path / "password"
    password.write_text("wrong")
    with pytest.raises(HeadraceError, match="Code: 516"):
        query("SELECT 1", user=OPERATOR, password_file=password, url=server.url, home=home)


def test_without_a_node_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    """There is nobody to ask before the first start."""
    with pytest.raises(HeadraceError, match="headrace up"):
        query("SELECT 1", home=tmp_path / "none")


def test_the_command_draws_what_the_store_answers(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal it is 80 cells wide."""
    query(
        "SELECT if(number < 3, concat('row ', toString(number)), 'z\\x1b[2J\\n') AS name,"
        " if(number < 3, number, NULL) AS height FROM numbers(4) ORDER BY number",
        chart=True,
        home=home,
    )
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "row 0     0",
        "row 1     1 " + "█" * 34,
        "row 2     2 " + "█" * 68,
        "z\\x1b[2J",
    ]
    assert printed.err.startswith("4 rows in ")


@pytest.mark.parametrize(
    ("sql", "options", "message"),
    [
        ("SELECT number FROM numbers(201)", {}, "up to 200 rows; this result has more"),
        ("SELECT 'a', 'b'", {}, "needs one column of numbers"),
        ("SELECT 1 FORMAT CSV", {}, "leave out the FORMAT"),
        ("SELECT 1", {"format": "CSV"}, "--format and --chart were both given"),
    ],
)
def test_the_command_says_what_a_chart_needs(
    home: Path, sql: str, options: dict[str, Any], message: str
) -> None:
    """Nothing half is drawn."""
    with pytest.raises(HeadraceError, match=message):
        query(sql, chart=True, home=home, **options)


def test_two_hundred_rows_are_drawn(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The most that may be."""
    query("SELECT number FROM numbers(200)", chart=True, home=home)
    assert "to 199 (200)" in capsys.readouterr().out


def test_without_a_query_and_a_terminal_it_says_what_to_give(home: Path) -> None:
    """Nobody could type at the prompt."""
    with pytest.raises(HeadraceError, match="give a query, or `-` for standard input"):
        query(home=home)


def test_an_error_cannot_steer_the_terminal_either(home: Path) -> None:
    """The store's sentence may quote what an event held."""
    with pytest.raises(HeadraceError, match=r"'\\x1b\]0;title\\x07'"):
        query("SELECT toUInt8(concat('\\x1b]0;title', '\\x07'))", home=home)


def test_ctrl_c_tells_a_server_to_end_the_query() -> None:
    """A ClickHouse server goes on working for who hung up; this stands in for one."""
    asked: list[tuple[str, str]] = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append((parse_qs(urlsplit(self.path).query).get("query_id", [""])[0], body))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"1\n")

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        login = StoreLogin(f"http://127.0.0.1:{server.server_port}", "", "somebody", "secret")
        with (
            StoreReader(login) as store,
            pytest.raises(KeyboardInterrupt),
            store.stream("SELECT 1", "CSV"),
        ):
            raise KeyboardInterrupt
        server.shutdown()
        thread.join()
    [(query_id, sql), (_, kill)] = asked
    assert sql == "SELECT 1"
    assert query_id
    assert kill == f"KILL QUERY WHERE query_id = '{query_id}' ASYNC"


def test_another_program_at_the_stores_address_is_told() -> None:
    """Not with a page of HTML."""
    page = Response("<!DOCTYPE html>\n<title>Nothing here</title>" + " " * 3_000, 501)
    app = Starlette(routes=[Route("/", lambda _: page, methods=["POST"])])
    with (
        serving(app) as url,
        StoreReader(StoreLogin(url, "d", "u", "p")) as store,
        pytest.raises(HeadraceError, match="is no ClickHouse") as caught,
    ):
        store.rows("SELECT 1", dict[str, int])
    assert "501 '<!DOCTYPE html>'" in str(caught.value)
