"""Nobody gets through the wall: tables of statements, and what each user is shown instead."""

from __future__ import annotations

import gzip
from urllib.parse import quote

import pytest

from headrace.workspaces.port import Role
from tests.store.asking import NOT_THERE, REFUSED, Answer, ask, basic, get, request, statements
from tests.store.server_fixture import (
    ANALYST,
    OPERATOR,
    OTHER_ANALYST,
    PROCESSOR,
    StoreServer,
    store_user,
)
from tests.store.two_workspaces import OWN_ROWS, SECRET

pytestmark = pytest.mark.node

READ_BY_NOBODY = statements("escapes_everyone.sql")
NOT_FOR_ANALYSTS = statements("escapes_analyst.sql")
HARMLESS = statements("harmless.sql")
LEAKS = statements("leaks.sql")


def assert_refused(answer: Answer, sql: str, codes: set[int]) -> None:
    assert answer.code in codes, answer.text
    assert answer.status in {400, 403, 404, 500}, answer.text
    assert_nothing_secret(answer, sql)


def assert_nothing_secret(answer: Answer, sql: str) -> None:
    for word in (SECRET, "ws_two", "secret_table"):
        assert word not in answer.text or word in sql, answer.text


@pytest.mark.parametrize("sql", READ_BY_NOBODY)
def test_the_operator_reads_tables_and_nothing_else(two_workspaces: StoreServer, sql: str) -> None:
    """Files, sockets, writes, other statements and the engine's inside are for no person."""
    assert_refused(ask(two_workspaces, OPERATOR, sql), sql, REFUSED)
    assert_refused(get(two_workspaces, OPERATOR, sql), sql, REFUSED)


@pytest.mark.parametrize("sql", [*NOT_FOR_ANALYSTS, *READ_BY_NOBODY])
def test_an_analyst_does_not_get_out(two_workspaces: StoreServer, sql: str) -> None:
    """Neither by POST nor by GET, and no answer says what is outside."""
    codes = REFUSED if sql in READ_BY_NOBODY else REFUSED | NOT_THERE
    assert_refused(ask(two_workspaces, ANALYST, sql), sql, codes)
    assert_refused(get(two_workspaces, ANALYST, sql), sql, codes)


@pytest.mark.parametrize("sql", HARMLESS)
def test_an_analyst_may_ask_this(two_workspaces: StoreServer, sql: str) -> None:
    """What analysts and their clients ask is answered, from their own workspace alone."""
    answer = ask(two_workspaces, ANALYST, sql)

    assert answer.status == 200, answer.text
    assert_nothing_secret(answer, sql)


@pytest.mark.parametrize("sql", LEAKS)
def test_no_predicate_sees_another_workspaces_row(two_workspaces: StoreServer, sql: str) -> None:
    """A predicate that would fail on a row of workspace two does not fail."""
    answer = ask(two_workspaces, ANALYST, sql)

    assert answer.status == 200, answer.text
    assert_nothing_secret(answer, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT countIf(workspace_id = 'ws_two') > 0 FROM headrace.events_rows",
        "SELECT count() > 0 FROM ws_two.events",
        "SELECT count() > 0 FROM system.parts WHERE database = 'headrace'",
        "SELECT count() > 0 FROM headrace.identity_links_all",
        "SELECT count() > 0 FROM system.tables WHERE database = 'ws_two'",
        "SELECT 1 FROM ws_one.events LIMIT 1",
    ],
)
def test_the_operator_reads_every_workspace(two_workspaces: StoreServer, sql: str) -> None:
    """Everything under headrace and the workspaces' databases, and the system's lists."""
    assert ask(two_workspaces, OPERATOR, sql).text == "1\n"


def test_each_analyst_sees_their_own_rows(two_workspaces: StoreServer) -> None:
    """The same question, two users, two answers."""
    sql = "SELECT uniq(event), any(event) LIKE 'SECRET%' FROM events"

    assert ask(two_workspaces, ANALYST, sql).text == "3\t0\n"
    assert ask(two_workspaces, OTHER_ANALYST, sql).text == "3\t1\n"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM {t:Identifier}",
        "SELECT * FROM {d:Identifier}.{t:Identifier}",
        "SELECT * FROM {d:Identifier}.secret_table",
        "SELECT 'x' IN {d:Identifier}.{t:Identifier}",
        "SELECT {d:Identifier}.{t:Identifier} FROM events",
        "USE {d:Identifier}",
        "SHOW TABLES FROM {d:Identifier}",
    ],
)
@pytest.mark.parametrize(
    "parameters",
    [
        {"param_d": "ws_two", "param_t": "secret_table"},
        {"param_d": "ws_two", "param_t": "ws_two.secret_table"},
        {"param_d": "ws_two`.`secret_table", "param_t": "`ws_two`.`secret_table`"},
        {"param_d": "headrace", "param_t": "events_rows"},
        {"param_d": "system", "param_t": "processes"},
        {"param_d": "system", "param_t": "events` SETTINGS readonly=0 --"},
    ],
)
def test_identifiers_given_as_parameters_are_judged(
    two_workspaces: StoreServer, sql: str, parameters: dict[str, str]
) -> None:
    """A parameter in an identifier's place is no way around: plain names, judged as written."""
    answer = ask(two_workspaces, ANALYST, sql, url=parameters)

    assert_nothing_secret(answer, sql + str(parameters))
    assert answer.status != 200 or answer.text == "", answer.text


FORBIDDEN = "SELECT * FROM ws_two.secret_table"
JSON_LINE = {"Content-Type": "application/json"}
SMUGGLED: dict[str, tuple[str, dict[str, str], bytes]] = {
    # URL, headers, body
    "a second query": (f"?query=SELECT+1&query={quote(FORBIDDEN)}", {}, b""),
    "half in the URL": ("?query=SELECT+*+FROM+", {}, b"ws_two.secret_table"),
    "half in the URL, with a line between": ("?query=SELECT+1+--", {}, b"\n, file('/etc/passwd')"),
    "gzip": ("", {"Content-Encoding": "gzip"}, gzip.compress(FORBIDDEN.encode())),
    "two members of gzip": (
        "",
        {"Content-Encoding": "gzip"},
        gzip.compress(b"SELECT 1 --") + gzip.compress(b"\n;" + FORBIDDEN.encode()),
    ),
    "another's database": ("?database=ws_two", {}, b"SELECT * FROM secret_table"),
    "the database twice": ("?database=ws_one&database=ws_two", {}, b"SELECT * FROM secret_table"),
    "a header's database": ("", {"X-ClickHouse-Database": "ws_two"}, b"SELECT * FROM secret_table"),
    "another's session": ("?session_id=theirs", {}, FORBIDDEN.encode()),
    "a NUL before it": ("", {}, b"SELECT 1\0, file('/etc/passwd')"),
    "a NUL in the name": ("", {}, b"SELECT * FROM ws_two\0.secret_table"),
    "no UTF-8": ("", {}, b"SELECT * FROM ws_two\xff.secret_table"),
    "overlong UTF-8": ("", {}, b"SELECT \xc0\xa7 FROM ws_two.secret_table"),
    "UTF-16": ("", {}, FORBIDDEN.encode("utf-16")),
    "full-width letters": ("", {}, "SELECT * FROM ｗｓ_ｔｗｏ.secret_table".encode()),
    "a dotless i": ("", {}, "SELECT fıle('/etc/passwd')".encode()),
    "a ligature": ("", {}, "SELECT ﬁle('/etc/passwd')".encode()),
    "blanks of other kinds": ("", {}, "SELECT\u00a0*\u2003FROM\u3000ws_two.secret_table".encode()),
    "a byte-order mark": ("", {}, b"\xef\xbb\xbf" + FORBIDDEN.encode()),
    "a parameter that is SQL": (
        f"?param_x={quote('1) UNION ALL (' + FORBIDDEN)}",
        {},
        b"SELECT * FROM numbers({x:UInt8})",
    ),
    "a setting that is SQL": (f"?default_format={quote('CSV ' + FORBIDDEN)}", {}, b"SELECT 1"),
    "external data": (
        "?events_structure=x+String&events_format=TSV",
        {"Content-Type": "multipart/form-data; boundary=cut"},
        b'--cut\r\nContent-Disposition: form-data; name="query"\r\n\r\n'
        + FORBIDDEN.encode()
        + b'\r\n--cut\r\nContent-Disposition: form-data; name="events"; filename="x"\r\n\r\n'
        b"x\r\n--cut--\r\n",
    ),
    "JSON": ("", JSON_LINE, b'{"query": "' + FORBIDDEN.encode() + b'"}'),
    "a role": ("?role=processor", {}, FORBIDDEN.encode()),
    "a method of another name": ("", {"X-HTTP-Method-Override": "PUT"}, FORBIDDEN.encode()),
    "a quota": ("?quota_key=x", {"X-ClickHouse-Quota": "x"}, FORBIDDEN.encode()),
    "the native protocol's version": ("?client_protocol_version=54460", {}, FORBIDDEN.encode()),
}


@pytest.mark.parametrize("way", SMUGGLED)
def test_nothing_is_smuggled_past_the_wall(two_workspaces: StoreServer, way: str) -> None:
    """Whatever part of a request carries it, what runs is what was judged."""
    url, headers, body = SMUGGLED[way]
    answer = request(
        two_workspaces, "POST", f"/{url}", headers={**basic(ANALYST), **headers}, body=body
    )
    assert answer.status in {400, 403, 404, 500, 501} or answer.text == "1\n", answer.text
    for word in (SECRET, "root:"):
        assert word not in answer.text, answer.text


def test_identifiers_given_as_parameters_work(two_workspaces: StoreServer) -> None:
    """For one's own tables and columns."""
    answer = ask(
        two_workspaces,
        ANALYST,
        "SELECT count({c:Identifier}), {n:UInt8} FROM {d:Identifier}.{t:Identifier}",
        param_c="user_id", param_d="ws_one", param_t="events", param_n="7",
    )  # fmt: skip

    assert answer.text == f"{OWN_ROWS}\t7\n"


@pytest.mark.parametrize(
    "name",
    [
        "optimize_move_to_prewhere",
        "query_plan_optimize_prewhere",
        "short_circuit_function_evaluation",
        "optimize_use_projections",
        "additional_table_filters",
        "allow_ddl",
        "allow_introspection_functions",
        "format_schema",
        "output_format_schema",
        "output_format_write_statistics",
        "dialect",
        "max_rows_to_read",
        "profile",
    ],
)
def test_forced_settings_cannot_be_set(two_workspaces: StoreServer, name: str) -> None:
    """Not by the URL, not by a clause, not by SET, not by SET in a session before the query."""
    for answer in (
        ask(two_workspaces, ANALYST, "SELECT 1", url={name: "1"}),
        ask(two_workspaces, ANALYST, f"SELECT 1 SETTINGS {name} = 1"),
        ask(two_workspaces, ANALYST, f"SET {name} = 1"),
        ask(two_workspaces, ANALYST, f"SET {name} = 1", session_id=name),
    ):
        assert answer.code in {115, 164, 497}, answer.text
    after = ask(
        two_workspaces, ANALYST,
        f"SELECT value FROM system.settings WHERE name = '{name}'", session_id=name,
    )  # fmt: skip
    assert after.text != "1\n"


def test_an_unknown_setting_is_unknown(two_workspaces: StoreServer) -> None:
    """As on a server: code 115, status 404."""
    for user in (ANALYST, OPERATOR, PROCESSOR):
        answer = ask(two_workspaces, user, "SELECT 1", no_such_setting="1")
        assert (answer.status, answer.code) == (404, 115), answer.text


def test_an_unknown_function_is_told_from_a_forbidden_one(two_workspaces: StoreServer) -> None:
    """A slip of the pen is answered with 46, a forbidden function with 497."""
    assert ask(two_workspaces, ANALYST, "SELECT nosuch(1)").code == 46
    assert ask(two_workspaces, ANALYST, "SELECT file('x')").code == 497


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM secret_tabl",
        "SELECT * FROM event",
        "SELECT user_i FROM events",
        "SELECT SECRE_COLUMN FROM events",
        "SELECT * FROM ws_tw.events",
        "DESCRIBE event",
        "SHOW COLUMNS FROM event",
    ],
)
def test_hints_name_nothing_of_others(two_workspaces: StoreServer, sql: str) -> None:
    """The engine's 'Maybe you meant' is cut off for analysts."""
    answer = ask(two_workspaces, ANALYST, sql)

    assert "Maybe" not in answer.text
    assert_nothing_secret(answer, sql)


def test_the_operator_keeps_the_hints(two_workspaces: StoreServer) -> None:
    """There is nothing to hide from whoever may read everything."""
    answer = ask(two_workspaces, OPERATOR, "SELECT * FROM headrace.events_row")

    assert "events_rows" in answer.text.replace("headrace.events_row'", "")


def test_how_much_was_read_is_not_told(two_workspaces: StoreServer) -> None:
    """Rows read count other workspaces' rows: the summary and JSON statistics leave them out."""
    counted = ask(two_workspaces, ANALYST, "SELECT count() FROM events FORMAT JSON")
    summary = counted.headers["x-clickhouse-summary"]

    assert "statistics" not in counted.text
    assert '"read_rows":"1"' in summary


def test_the_first_wall_is_not_the_only_one(two_workspaces: StoreServer) -> None:
    """Were a statement let through by mistake, it still reads one workspace's rows, and no file."""
    settings = ask(
        two_workspaces, ANALYST,
        "SELECT name, value FROM system.settings"
        " WHERE name IN ('additional_table_filters', 'readonly', 'allow_ddl') FORMAT TSV",
    ).text  # fmt: skip

    assert "headrace.events_rows" in settings
    assert "workspace_id" in settings
    assert "readonly\t2" in settings  # this query says "settings", see `people.py`
    assert "allow_ddl\t0" in settings


def test_a_database_of_others_does_not_exist(two_workspaces: StoreServer) -> None:
    """Whether there is none of that name or it is somebody else's: the same answer."""
    for name in ("ws_two", "ws_none", "headrace", "system"):
        answer = ask(two_workspaces, ANALYST, "SELECT 1", database=name)
        assert answer.text == (
            f"Code: 81. DB::Exception: Database {name} does not exist (UNKNOWN_DATABASE)\n"
        )
    assert ask(two_workspaces, ANALYST, "SELECT currentDatabase()", database="default").text == (
        "ws_one\n"
    )


def test_a_table_made_later_is_filtered_too(two_workspaces: StoreServer) -> None:
    """A new analyst's catalog holds their tables as soon as there are any."""
    directory = two_workspaces.directory
    directory.users["third"] = store_user("third", Role.ANALYST, "ws_three", "ws_three")
    assert ask(two_workspaces, "third", "SELECT 1").code == 81
    ask(two_workspaces, PROCESSOR, "CREATE DATABASE ws_three")
    assert ask(two_workspaces, "third", "SELECT name FROM system.tables").text == ""
    ask(two_workspaces, PROCESSOR, "CREATE VIEW ws_three.v AS SELECT 1 AS a")

    assert ask(two_workspaces, "third", "SELECT name FROM system.tables").text == "v\n"
    assert ask(two_workspaces, "third", "SHOW TABLES").text == "v\n"
