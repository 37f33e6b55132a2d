"""A query that nothing ends ends the process, and keeps whoever asked away for a while."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from headrace.runtime.clock import ManualClock
from headrace.store.server.answers import Refusal
from headrace.store.server.app import EXIT_OVERRUN
from headrace.store.server.limits import StoreLimits
from headrace.store.server.overruns import Overruns
from headrace.workspaces.port import Role
from tests.store.asking import Answer, ask, basic
from tests.store.server_fixture import ANALYST, OPERATOR, OTHER_ANALYST, PROCESSOR, store_user
from tests.store.server_process import StoreProcess

pytestmark = pytest.mark.node

LIMITS = StoreLimits(query_seconds=1, overrun_seconds=2, overrun_wait_seconds=60)
ROOM = msgspec.structs.replace(LIMITS, query_seconds=5)
"""Time to begin an answer in, also on a busy machine."""
HOURS = "SELECT arraySimilarity(range(400000), range(1, 400001), range(400000), range(400000))"
"""One row. It is quadratic: 27 s for a tenth of these."""


class Asking(threading.Thread):
    def __init__(self, server: StoreProcess, user: str, sql: str) -> None:
        super().__init__(daemon=True)
        self.answer: Answer | Exception | None = None
        self._asked = (server, user, sql)
        self.start()

    def run(self) -> None:
        try:
            self.answer = ask(*self._asked)
        except Exception as error:  # noqa: BLE001 - what a client sees is what is asked about
            self.answer = error


def make_databases(server: StoreProcess) -> None:
    for database in ("headrace", "ws_one", "ws_two"):
        ask(server, PROCESSOR, f"CREATE DATABASE {database}")
    ask(server, PROCESSOR, "CREATE TABLE headrace.t (a UInt64) ENGINE = MergeTree ORDER BY a")


def test_the_process_ends_and_who_asked_has_to_wait(tmp_path: Path) -> None:
    """They are told why; the tables are whole, and everybody else goes on with the next one."""
    with StoreProcess(tmp_path / "store", LIMITS) as server:
        make_databases(server)
        assert ask(server, PROCESSOR, "INSERT INTO headrace.t VALUES (7)").status == 200
        asking = Asking(server, ANALYST, HOURS)
        assert server.wait() == EXIT_OVERRUN
        asking.join(30)
        assert isinstance(asking.answer, Answer)
        assert "TIMEOUT_EXCEEDED" in asking.answer.text
        assert "on a single row" in asking.answer.text
    with StoreProcess(tmp_path / "store", LIMITS) as server:
        refused = ask(server, ANALYST, "SELECT 1")
        assert "QUOTA_EXCEEDED" in refused.text
        assert "may ask again at" in refused.text
        assert ask(server, OTHER_ANALYST, "SELECT 1").text == "1\n"
        assert ask(server, PROCESSOR, "SELECT a FROM headrace.t").text == "7\n"


def test_an_operator_need_not_wait(tmp_path: Path) -> None:
    """It is theirs."""
    with StoreProcess(tmp_path / "store", LIMITS) as server:
        make_databases(server)
        Asking(server, OPERATOR, HOURS)
        assert server.wait() == EXIT_OVERRUN
    with StoreProcess(tmp_path / "store", LIMITS) as server:
        assert ask(server, OPERATOR, "SELECT 1").text == "1\n"


def test_an_answer_that_has_begun_ends_with_the_error(tmp_path: Path) -> None:
    """As any other error in the middle of a stream; and a file that cannot be written is no
    reason to go on."""
    rows = (
        "SELECT toString(number) || repeat('x', 100), if(number = 65536, "
        "arraySimilarity(range(toUInt32(number + 334464)), range(1, 400001), range(400000), "
        "range(400000)), 0) FROM numbers(70000) SETTINGS max_block_size = 1024, "
        "max_threads = 1 FORMAT TSV"
    )
    (tmp_path / "store" / "headrace_overruns.new").mkdir(parents=True)
    with StoreProcess(tmp_path / "store", ROOM) as server:
        make_databases(server)
        asking = Asking(server, ANALYST, rows)
        assert server.wait() == EXIT_OVERRUN
        asking.join(30)
    assert asking.answer is not None
    said = asking.answer.text if isinstance(asking.answer, Answer) else repr(asking.answer)
    assert said.startswith("0x")
    assert "on a single row" in said


def test_a_query_that_ends_at_its_time_ends_nothing_else(tmp_path: Path) -> None:
    """Also one whose client reads nothing for longer than that."""
    endless = "SELECT count() FROM numbers(1e10) WHERE NOT ignore(MD5(toString(number)))"
    with StoreProcess(tmp_path / "store", ROOM) as server:
        make_databases(server)
        slow = ask(server, ANALYST, endless)
        assert "TIMEOUT_EXCEEDED" in slow.text
        assert "on a single row" not in slow.text
        path = f"/?query={quote('SELECT repeat(toString(number), 99) FROM numbers(9000000)')}"
        token = basic(ANALYST)["Authorization"]
        with socket.create_connection(("127.0.0.1", server.port)) as reader:
            head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
            reader.sendall(head.encode())
            assert reader.recv(12) == b"HTTP/1.1 200"
            time.sleep(ROOM.query_seconds + ROOM.overrun_seconds + 2)
        assert ask(server, ANALYST, "SELECT 1").text == "1\n"


def test_a_file_that_is_damaged_keeps_nobody_away(tmp_path: Path) -> None:
    """It is said, and that is all; whoever has waited may ask again, over a start as well."""
    (tmp_path / "headrace_overruns.json").write_text("{")
    analyst = store_user(ANALYST, Role.ANALYST, "ws_one")
    clock = ManualClock()
    overruns = Overruns(tmp_path, LIMITS, clock)
    overruns.admit(analyst)
    overruns.note(analyst, "q")
    for kept in (overruns, Overruns(tmp_path, LIMITS, clock)):
        with pytest.raises(Refusal, match="may ask again at"):
            kept.admit(analyst)
    restarted = Overruns(tmp_path, LIMITS, clock)
    clock.advance(LIMITS.overrun_wait_seconds)
    for kept in (overruns, restarted, Overruns(tmp_path, LIMITS, clock)):
        kept.admit(analyst)
