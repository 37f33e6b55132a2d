"""ClickHouse's HTTP interface as clients know it: where a query may be, formats, headers, codes."""

from __future__ import annotations

import json

import pytest

from headrace.store.server.compressed_blocks import BlockPacker, BlockUnpacker
from tests.store.asking import ask, basic, get, request
from tests.store.server_fixture import ANALYST, OPERATOR, PASSWORD, PROCESSOR, StoreServer

pytestmark = pytest.mark.node


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_ping_needs_no_credentials(two_workspaces: StoreServer, method: str) -> None:
    """Load balancers and clients ask it before they log in."""
    answer = request(two_workspaces, method, "/ping")

    assert answer.status == 200
    assert answer.body == (b"" if method == "HEAD" else b"Ok.\n")
    assert answer.headers["content-length"] == "4"


@pytest.mark.parametrize("path", ["/", "/replicas_status", "/?"])
def test_nothing_asked_is_ok(two_workspaces: StoreServer, path: str) -> None:
    """`/` without a query and `/replicas_status` say that the server is there."""
    assert request(two_workspaces, "GET", path, headers=basic(OPERATOR)).body == b"Ok.\n"
    assert request(two_workspaces, "HEAD", path, headers=basic(OPERATOR)).status == 200


def test_an_unknown_path_is_404(two_workspaces: StoreServer) -> None:
    """With ClickHouse's kind of message."""
    assert request(two_workspaces, "GET", "/play", headers=basic(OPERATOR)).status == 404


def test_the_query_may_be_in_the_url_the_body_or_both(two_workspaces: StoreServer) -> None:
    """Parameter and body are put together with a line break."""
    assert get(two_workspaces, ANALYST, "SELECT 1 + 1").body == b"2\n"
    assert ask(two_workspaces, ANALYST, "SELECT 1 + 1").body == b"2\n"
    assert ask(two_workspaces, ANALYST, "+ 1", query="SELECT 1").body == b"2\n"


def test_a_chunked_body_is_read(two_workspaces: StoreServer) -> None:
    """The JavaScript client sends every query so."""
    pieces = iter([b"SELECT ", b"1", b" + 1"])
    answer = request(two_workspaces, "POST", "/", headers=basic(ANALYST), body=pieces)

    assert answer.body == b"2\n"


def test_an_empty_body_is_a_syntax_error(two_workspaces: StoreServer) -> None:
    """Code 62, as on a server."""
    for user in (ANALYST, PROCESSOR):
        answer = ask(two_workspaces, user, "")
        assert (answer.status, answer.code) == (400, 62), answer.text


def test_a_body_that_is_no_text_is_refused(two_workspaces: StoreServer) -> None:
    """And does not reach the engine."""
    assert ask(two_workspaces, ANALYST, b"SELECT '\xff'").code == 62


def test_a_form_carries_query_and_parameters(two_workspaces: StoreServer) -> None:
    """`multipart/form-data`, as clients send long parameters."""
    fields = {"query": "SELECT {x:Int32} + 1, {s:String}", "param_x": "41", "param_s": "a b"}
    body = b"".join(
        f'--cut\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    )
    headers = {**basic(ANALYST), "Content-Type": "multipart/form-data; boundary=cut"}
    answer = request(two_workspaces, "POST", "/", headers=headers, body=body + b"--cut--\r\n")

    assert answer.body == b"42\ta b\n"


def test_external_tables_are_refused_clearly(two_workspaces: StoreServer) -> None:
    """A part with a file name is one."""
    body = (
        b'--cut\r\nContent-Disposition: form-data; name="t"; filename="t"\r\n\r\n1\r\n--cut--\r\n'
    )
    headers = {**basic(ANALYST), "Content-Type": "multipart/form-data; boundary=cut"}
    answer = request(two_workspaces, "POST", "/?query=SELECT+1", headers=headers, body=body)

    assert (answer.status, answer.code) == (501, 48)


@pytest.mark.parametrize(
    ("sql", "parameters", "headers", "name", "body"),
    [
        ("SELECT 1 AS a", {}, {}, "TabSeparated", b"1\n"),
        ("SELECT 1 AS a FORMAT CSV", {}, {}, "CSV", b"1\n"),
        ("SELECT 1 AS a FORMAT CSV;", {}, {}, "CSV", b"1\n"),
        ("SELECT 1 AS a", {"default_format": "CSVWithNames"}, {}, "CSVWithNames", b'"a"\n1\n'),
        ("SELECT 1 AS a", {}, {"X-ClickHouse-Format": "JSONEachRow"}, "JSONEachRow", b'{"a":1}\n'),
        ("SELECT 1 AS a FORMAT TSV", {"default_format": "CSV"}, {}, "TSV", b"1\n"),
        ("SELECT 1 AS a", {"default_format": "CSV"}, {"X-ClickHouse-Format": "XML"}, "CSV", b"1\n"),
        ("SELECT 'FORMAT CSV' AS a", {}, {}, "TabSeparated", b"FORMAT CSV\n"),
    ],
)
@pytest.mark.parametrize("user", [ANALYST, PROCESSOR])
def test_the_format_is_found(
    two_workspaces: StoreServer,
    user: str,
    sql: str,
    parameters: dict[str, str],
    headers: dict[str, str],
    name: str,
    body: bytes,
) -> None:
    """In the statement, else the parameter, else the header, else TabSeparated."""
    answer = ask(two_workspaces, user, sql, headers=headers, url=parameters)

    assert answer.headers["x-clickhouse-format"] == name
    assert answer.body == body


def test_native_is_written_for_whoever_asks(two_workspaces: StoreServer) -> None:
    """Protocol 0: columns, rows, then name, type and values of each column."""
    answer = ask(
        two_workspaces,
        ANALYST,
        "SELECT 1 AS check\n FORMAT Native",
        client_protocol_version="54405",
    )

    assert answer.body == b"\x01\x01\x05check\x05UInt8\x01"


def test_the_answers_headers(two_workspaces: StoreServer) -> None:
    """What clients read of an answer; every value of the summary is a string."""
    answer = ask(two_workspaces, OPERATOR, "SELECT number FROM numbers(3)", query_id="mine-1")
    summary = json.loads(answer.headers["x-clickhouse-summary"])

    assert answer.headers["x-clickhouse-query-id"] == "mine-1"
    assert answer.headers["x-clickhouse-timezone"]
    assert answer.headers["x-clickhouse-server-display-name"] == "headrace"
    assert answer.headers["content-type"] == "text/tab-separated-values; charset=UTF-8"
    assert summary["read_rows"] == "3"
    assert summary["result_rows"] == "3"
    assert all(isinstance(value, str) for value in summary.values())


def test_a_query_id_is_made(two_workspaces: StoreServer) -> None:
    """For whoever sends none, and for refusals too."""
    assert len(ask(two_workspaces, OPERATOR, "SELECT 1").headers["x-clickhouse-query-id"]) == 36
    assert len(ask(two_workspaces, OPERATOR, "SELEC").headers["x-clickhouse-query-id"]) == 36
    assert ask(two_workspaces, OPERATOR, "SELECT 1", query_id="a\nb").code == 36


@pytest.mark.parametrize(
    ("sql", "status", "code", "name"),
    [
        ("SELEC 1", 400, 62, "SYNTAX_ERROR"),
        ("SELECT nope", 404, 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT * FROM nope", 404, 60, "UNKNOWN_TABLE"),
        ("SELECT nope()", 404, 46, "UNKNOWN_FUNCTION"),
        ("SELECT toInt32('a')", 400, 6, "CANNOT_PARSE_TEXT"),
        ("SELECT 1 + 'a'", 500, 43, "ILLEGAL_TYPE_OF_ARGUMENT"),
        ("SELECT throwIf(1)", 500, 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT {x:Int32}", 500, 456, "UNKNOWN_QUERY_PARAMETER"),
        ("SELECT 1 FORMAT Nope", 404, 73, "UNKNOWN_FORMAT"),
        ("SELECT 1; SELECT 2", 400, 62, "SYNTAX_ERROR"),
    ],
)
def test_errors_are_worded_as_the_server_words_them(
    two_workspaces: StoreServer, sql: str, status: int, code: int, name: str
) -> None:
    """The status of the server's own table, the code in a header, the name at the end."""
    answer = ask(two_workspaces, OPERATOR, sql)

    assert (answer.status, answer.code) == (status, code), answer.text
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert answer.text.endswith(f"({name})\n")
    assert "parseQueryToJSON" not in answer.text


def test_parameters_of_all_kinds(two_workspaces: StoreServer) -> None:
    """Numbers, texts with anything in them, arrays, times, in ClickHouse's escaped form."""
    answer = ask(
        two_workspaces, ANALYST,
        "SELECT {n:UInt64}, {s:String}, {a:Array(String)}, {t:DateTime64(3)}, {z:Nullable(Int8)},"
        " {m:Map(String, Int8)}",
        param_n="18446744073709551615", param_s="it's \\t a \\\\", param_a="['x','y\\'z']",
        param_t="2026-01-02 03:04:05.678", param_z="\\N", param_m="{'k':1}",
    )  # fmt: skip

    assert answer.text == (
        "18446744073709551615\t"
        "it\\'s \\t a \\\\\t['x','y\\'z']\t"
        "2026-01-02 03:04:05.678\t\\N\t{'k':1}\n"
    )


def test_settings_of_the_url_count(two_workspaces: StoreServer) -> None:
    """For one query, and only those for people."""
    sql = "SELECT 1 AS a FORMAT JSONEachRow"

    assert ask(two_workspaces, ANALYST, sql).body == b'{"a":1}\n'
    answer = ask(two_workspaces, ANALYST, sql, output_format_json_array_of_rows="1")
    assert answer.body == b'[\n{"a":1}\n]\n'
    assert ask(two_workspaces, ANALYST, sql).body == b'{"a":1}\n'
    tokyo = ask(two_workspaces, ANALYST, "SELECT toDateTime(0)", session_timezone="Asia/Tokyo")
    assert tokyo.body == b"1970-01-01 09:00:00\n"


def test_what_clients_send_for_nothing_is_let_pass(two_workspaces: StoreServer) -> None:
    """Parameters of the transport and settings that change nothing for a reader."""
    answer = ask(
        two_workspaces, ANALYST, "SELECT 1",
        wait_end_of_query="1", send_progress_in_http_headers="1", buffer_size="1",
        http_headers_progress_interval_ms="1000", client_protocol_version="54405", role="r",
        date_time_input_format="best_effort", cast_string_to_dynamic_use_inference="1",
        cancel_http_readonly_queries_on_client_close="1", enable_http_compression="0",
        compress="0", network_compression_method="LZ4", quota_key="k", readonly="2",
        async_insert="1", max_insert_block_size="1", log_comment="x", priority="1",
    )  # fmt: skip

    assert answer.body == b"1\n", answer.text


def test_limits_of_the_url_are_cut_to_the_stores(two_workspaces: StoreServer) -> None:
    """A client may ask for less, and gets ours when it asks for more or for none."""
    sql = "SELECT value FROM system.settings WHERE name = 'max_execution_time'"

    assert ask(two_workspaces, ANALYST, sql, max_execution_time="7").body == b"7\n"
    for asked in ("0", "100000", "-1"):
        assert ask(two_workspaces, ANALYST, sql, max_execution_time=asked).body == b"60\n"
    assert ask(two_workspaces, ANALYST, sql, max_execution_time="x").code == 36


def test_the_database_may_be_named(two_workspaces: StoreServer) -> None:
    """By parameter or header; the operator may work in any workspace's."""
    sql = "SELECT currentDatabase()"

    assert ask(two_workspaces, OPERATOR, sql).body == b"headrace\n"
    assert ask(two_workspaces, OPERATOR, sql, database="ws_two").body == b"ws_two\n"
    headers = {"X-ClickHouse-Database": "ws_two"}
    assert ask(two_workspaces, OPERATOR, sql, headers=headers).body == b"ws_two\n"
    assert ask(two_workspaces, PROCESSOR, sql, database="nope").code == 81


def test_credentials_in_the_url_do_not_reach_the_engine(two_workspaces: StoreServer) -> None:
    """`user` and `password` are the transport's."""
    path = f"/?user={ANALYST}&password={PASSWORD}&query=SELECT%201"

    assert request(two_workspaces, "GET", path).body == b"1\n"


def test_bodies_and_answers_in_compressed_blocks(two_workspaces: StoreServer) -> None:
    """`compress=1`, `decompress=1`: errors too, and streams; one that is no such block is told."""
    body = BlockPacker().compress(b"SELECT 1")
    answer = ask(two_workspaces, ANALYST, body, decompress="1", compress="1")
    assert unpacked(answer.body) == b"1\n"
    broken = ask(two_workspaces, ANALYST, "SELECT nothing_of_this_name", compress="1")
    assert (broken.status, broken.code) == (404, 47)
    assert b"nothing_of_this_name" in unpacked(broken.body)
    long = ask(two_workspaces, ANALYST, "SELECT number FROM numbers(400000)", compress="1")
    assert unpacked(long.body).count(b"\n") == 400_000
    assert ask(two_workspaces, ANALYST, "SELECT 1", decompress="1").code == 271


def unpacked(body: bytes) -> bytes:
    unpack = BlockUnpacker()
    found = b"".join(unpack.feed(body))
    unpack.finish()
    return found


def test_a_version_of_the_protocol_that_is_no_number(two_workspaces: StoreServer) -> None:
    """Said, and not guessed."""
    assert ask(two_workspaces, ANALYST, "SELECT 1", client_protocol_version="x").code == 36


def test_a_statement_that_is_too_long_is_refused(two_workspaces: StoreServer) -> None:
    """413, before it is parsed."""
    answer = ask(two_workspaces, ANALYST, "SELECT '" + "x" * 300_000 + "'")

    assert (answer.status, answer.code) == (413, 229)


def test_a_long_result_is_streamed(two_workspaces: StoreServer) -> None:
    """Chunked, with the tag that announces where an exception would be."""
    answer = ask(two_workspaces, ANALYST, "SELECT number, number FROM numbers(300000)")

    assert answer.headers["transfer-encoding"] == "chunked"
    assert len(answer.headers["x-clickhouse-exception-tag"]) == 16
    assert answer.body.count(b"\n") == 300_000
    assert answer.body.endswith(b"299999\t299999\n")


def test_a_long_result_is_held_back_if_asked(two_workspaces: StoreServer) -> None:
    """`wait_end_of_query`: the status tells, also when the last row fails."""
    sql = "SELECT throwIf(number = 290000) FROM numbers(300000)"

    assert ask(two_workspaces, ANALYST, sql, wait_end_of_query="1").code == 395
    whole = ask(
        two_workspaces, ANALYST, "SELECT number FROM numbers(300000)", wait_end_of_query="1"
    )
    assert whole.headers["content-length"] == str(len(whole.body))


def test_an_error_amid_rows_ends_the_answer_with_the_exception(
    two_workspaces: StoreServer,
) -> None:
    """After the rows comes the block that clients look for."""
    answer = ask(
        two_workspaces, ANALYST, "SELECT throwIf(number = 2900000), 'x' FROM numbers(3000000)"
    )
    tag = answer.headers["x-clickhouse-exception-tag"].encode()

    assert answer.status == 200
    head, _, rest = answer.body.partition(b"\r\n__exception__\r\n" + tag + b"\r\n")
    assert head.endswith(b"\n")
    assert rest.startswith(b"Code: 395. DB::Exception: ")
    assert rest.endswith(b" " + tag + b"\r\n__exception__\r\n")


def test_totals_come_at_the_end_of_a_stream(two_workspaces: StoreServer) -> None:
    """As in a whole answer."""
    answer = ask(
        two_workspaces, ANALYST,
        "SELECT event, count() FROM events GROUP BY event WITH TOTALS ORDER BY event",
    )  # fmt: skip

    assert answer.text == "a\t834\nb\t833\nc\t833\n\n\t2500\n"
