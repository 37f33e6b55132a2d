"""`headrace query` at a real terminal: the prompt, completion, Ctrl-C, and the pager."""

from __future__ import annotations

import contextlib
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.runtime.home import Home
from headrace.runtime.querying.history import MAX_BYTES, open_history
from tests.runtime.homes import make_home, point_home_at
from tests.scenarios.node import HEADRACE, clean_environment, until
from tests.scenarios.terminal import CTRL_C, Terminal, on_terminal
from tests.store.server_fixture import ANALYST, OPERATOR, OWN_DATABASE, PASSWORD, StoreServer
from tests.store.two_workspaces import make_two_shipped_workspaces

pytestmark = pytest.mark.node

TAB, CTRL_D, UP, ENTER = "\t", "\x04", "\x1b[A", "\r"
PROMPT = "headrace>"
READY = "\x1b[?2004h"
"""What a prompt sends when keys come to it: from then on Ctrl-C and Ctrl-D are its own."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("store") / "data") as server:
        make_two_shipped_workspaces(server)
        yield server


@pytest.fixture
def home(tmp_path: Path, server: StoreServer) -> Path:
    return point_home_at(make_home(tmp_path / "home"), server)


def environment(home: Path, **more: str) -> dict[str, str]:
    quiet = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "PAGER": ""}
    return clean_environment(HEADRACE_HOME=str(home), **(quiet | more))


@contextlib.contextmanager
def prompt(home: Path, *options: str, **variables: str) -> Iterator[Terminal]:
    """The prompt, ready for keys."""
    command = (HEADRACE, "query", *options)
    with on_terminal(environment(home, **variables), *command, size=(30, 100)) as terminal:
        terminal.until_shown(PROMPT)
        yield terminal


def press(terminal: Terminal, *keys: str) -> None:
    """What is shown counts from here on."""
    terminal.shown = ""
    terminal.press("".join(keys).encode())


def answer(terminal: Terminal, *keys: str) -> str:
    """What is shown from these keys and Enter to the next prompt."""
    press(terminal, *keys, ENTER)
    terminal.until_shown(READY)
    return terminal.shown


def leave(terminal: Terminal, *keys: str) -> None:
    press(terminal, *keys)
    assert terminal.end() == 0, terminal.shown


@pytest.fixture
def analyst(tmp_path: Path) -> tuple[str, ...]:
    """Options that log an analyst in."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    return ("--user", ANALYST, "--password-file", str(password))


def test_statements_are_completed_and_answered(home: Path, analyst: tuple[str, ...]) -> None:
    """Tab knows tables and columns; a statement goes on until its semicolon; errors end nothing."""
    with prompt(home, *analyst) as terminal:
        assert f"{ANALYST} in {OWN_DATABASE}" in terminal.shown
        press(terminal, "SELECT 'first of ' || min(anony", TAB)
        terminal.until_shown("mous_id")
        press(terminal, ") FROM iden", TAB)
        terminal.until_shown("tity_links")
        press(terminal, ENTER)
        terminal.until_shown("->")
        told = answer(terminal, "WHERE anonymous_id = '42'; SELEC 1;")
        assert "first of 42" in told
        assert "Code: 62." in told
        assert "deduplicated_events" in answer(terminal, "\\d")
        assert "received_at" in answer(terminal, "\\d events")
        assert "completes keywords" in answer(terminal, "\\h")
        assert "\\nonsense is no order of this prompt" in answer(terminal, "\\nonsense")
        leave(terminal, "\\q", ENTER)


def test_what_was_typed_is_there_the_next_time(home: Path) -> None:
    """In HOME, for its owner's eyes alone."""
    with prompt(home) as terminal:
        assert "twenty-one" in answer(terminal, "SELECT 'twenty-' || 'one';")
        leave(terminal, "exit", ENTER)
    history = Home(home).query_history
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "+SELECT 'twenty-' || 'one';" in history.read_text()
    with prompt(home) as terminal:
        assert "twenty-one" in answer(terminal, UP, UP)
        leave(terminal, CTRL_D)


def test_ctrl_c_cancels_what_runs_and_what_is_typed(home: Path, server: StoreServer) -> None:
    """The prompt stays, and the store works no more."""
    running = "SELECT count() FROM system.processes WHERE query LIKE '%numbers(9999999999)%'"
    running += " AND query NOT LIKE '%system.processes%'"
    with prompt(home) as terminal, contextlib.closing(server.client(OPERATOR)) as client:

        def count() -> int:
            return int(client.query(running).result_rows[0][0])

        press(terminal, "SELECT sum(sipHash64(number)) FROM numbers(9999999999);", ENTER)
        until(lambda: count() == 1, "it runs")
        terminal.press(CTRL_C)
        terminal.until_shown(READY)
        assert "Cancelled." in terminal.shown
        until(lambda: count() == 0, "it has ended")
        press(terminal, "SELECT 'half ")
        terminal.press(CTRL_C)
        terminal.until_shown(READY)
        assert "still here" in answer(terminal, "SELECT 'still ' || 'here';")
        leave(terminal, CTRL_D)


def test_settings_and_the_database_last(home: Path) -> None:
    """`SET` and `USE` count for what follows; a database that is not there changes nothing."""
    with prompt(home) as terminal:
        answer(terminal, "SET max_result_rows = 7;")
        assert "Code: 396." in answer(terminal, "SELECT number FROM numbers(8);")
        told = answer(terminal, "USE nowhere; SELECT 'not ' || 'asked';")
        assert "Code: 81." in told
        assert "not asked" not in told
        told = answer(terminal, f"USE {OWN_DATABASE}; SELECT 'in ' || currentDatabase();")
        assert f"in {OWN_DATABASE}" in told
        leave(terminal, "quit;", ENTER)


def test_charts_are_drawn_where_asked(home: Path) -> None:
    """From an order on, until it is given again."""
    with prompt(home) as terminal:
        assert "drawn as charts" in answer(terminal, "\\chart")
        told = answer(terminal, "SELECT 'a', 3 UNION ALL SELECT 'b', 1;")
        assert "a 3 " + "█" * 96 in told
        assert "drawn as tables" in answer(terminal, "\\chart")
        leave(terminal, "\\q", ENTER)


def test_a_store_that_cannot_be_asked_is_told_at_once(tmp_path: Path) -> None:
    """There is no prompt without somebody to ask."""
    home = make_home(tmp_path / "home")
    with on_terminal(environment(home), HEADRACE, "query", size=(30, 100)) as terminal:
        assert terminal.end() == 1
        terminal.until_shown("does not run")
        assert PROMPT not in terminal.shown


LONG = "SELECT number, 'row' AS text FROM numbers(100)"


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        ((LONG,), 100),
        ((LONG, "--format", "TSV"), 100),
        ((LONG, "--no-pager"), None),
        (("SELECT 1",), None),
        (("SELECT 1", "--format", "TSV"), None),
        (("SELECT repeat('x', 5000)", "--format", "TSV"), 0),
    ],
)
def test_longer_than_the_screen_goes_through_the_pager(
    home: Path, tmp_path: Path, arguments: tuple[str, ...], rows: int | None
) -> None:
    """And nothing else does."""
    read = tmp_path / "read.txt"
    with on_terminal(
        environment(home, PAGER=f"tee {read}"), HEADRACE, "query", *arguments, size=(30, 100)
    ) as terminal:
        assert terminal.end() == 0, terminal.shown
    assert read.exists() == (rows is not None)
    if rows is not None:
        assert read.read_text().count("row") == rows


def test_without_a_terminal_nothing_is_paged(home: Path, tmp_path: Path) -> None:
    """A pipe gets everything."""
    read = tmp_path / "read.txt"
    done = subprocess.run(
        [HEADRACE, "query", LONG],
        env=environment(home, PAGER=f"tee {read}"),
        capture_output=True,
        text=True,
    )
    assert done.stdout.count("row") == 100
    assert not read.exists()


def test_an_answer_without_end_ends_with_its_reader(home: Path) -> None:
    """It is read as it comes, and no further than the pager reads."""
    sql = "SELECT 'row', number FROM system.numbers FORMAT TSV"
    with on_terminal(
        environment(home, PAGER="head -n 2"), HEADRACE, "query", sql, size=(30, 100)
    ) as terminal:
        assert terminal.end() == 0, terminal.shown
        terminal.until_shown("row\t1")
    assert terminal.shown.count("row") == 2


def test_a_pager_that_is_not_there_is_done_without(home: Path) -> None:
    """The answer is worth more than the way it is shown."""
    with on_terminal(
        environment(home, PAGER="no-such-pager -x"), HEADRACE, "query", LONG, size=(30, 100)
    ) as terminal:
        assert terminal.end() == 0
        terminal.until_shown("100 rows in ")
    assert terminal.shown.count("row") >= 100


@pytest.mark.skipif(shutil.which("less") is None, reason="less is not installed")
def test_less_is_the_pager_where_none_is_named(home: Path) -> None:
    """It shows a screen and waits for keys."""
    variables = environment(home)
    del variables["PAGER"]
    sql = "SELECT 'row', number FROM system.numbers FORMAT CSV"
    with on_terminal(variables, HEADRACE, "query", sql, size=(30, 100)) as terminal:
        terminal.until_shown(":")
        press(terminal, " ")
        terminal.until_shown('"row",50')
        leave(terminal, "q")


def test_history_without_a_home_is_kept_in_memory(tmp_path: Path) -> None:
    """Asking a store elsewhere makes no folder here."""
    history = open_history(tmp_path / "none" / "query_history")
    history.append_string("SELECT 1;")
    assert list(history.get_strings()) == ["SELECT 1;"]
    assert not (tmp_path / "none").exists()


def test_history_does_not_grow_for_ever(tmp_path: Path) -> None:
    """Past its bound the older half goes, at an entry's beginning; and the mode is mended."""
    file = tmp_path / "query_history"
    entries = MAX_BYTES // 50
    file.write_text("".join(f"\n# at\n+SELECT {number:060d};\n" for number in range(entries)))
    file.chmod(0o644)
    kept = list(open_history(file).load_history_strings())
    assert kept[0] == f"SELECT {entries - 1:060d};"
    assert entries // 4 < len(kept) < entries * 3 // 4
    assert all(len(each) == len(kept[0]) for each in kept)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
