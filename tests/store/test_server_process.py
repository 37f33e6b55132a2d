"""The server as a process: it ends with 0, loses nothing acknowledged, says why it cannot start."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.store.asking import ask, basic, request
from tests.store.server_fixture import OPERATOR, PROCESSOR
from tests.store.server_process import StoreProcess, wait_for

pytestmark = pytest.mark.node
SYNCED = "ENGINE = MergeTree ORDER BY a SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
TABLE = f"CREATE TABLE t (a UInt64) {SYNCED}"
INSERT = "/?query=INSERT%20INTO%20t%20FORMAT%20TSV"
ENDLESS = "SELECT count() FROM numbers(9e9) WHERE NOT ignore(sipHash64(number))"
RUNNING = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT count() FROM numbers(%'"


def test_sigterm_ends_it_with_0(tmp_path: Path) -> None:
    """Also with connections open and a session begun."""
    with StoreProcess(tmp_path / "store") as server:
        client = server.client(PROCESSOR, database="default")
        client.command(TABLE)
        server.stop()
        client.close()

    assert server.exit_code == 0


def test_kill_between_acknowledged_inserts_loses_none(tmp_path: Path) -> None:
    """Whatever was answered with 200 is there after kill -9 and a start."""
    acknowledged: list[int] = []
    server = StoreProcess(tmp_path / "store")
    for attempt in range(3):
        with server:
            ask(server, PROCESSOR, TABLE.replace("TABLE t", "TABLE IF NOT EXISTS t"))
            wanted = len(acknowledged) + 20
            writer = threading.Thread(target=_insert_until_it_dies, args=(server, acknowledged))
            writer.start()
            wait_for(partial(_has_reached, acknowledged, wanted))
            server.kill()
            writer.join()
        with server:
            held = ask(server, PROCESSOR, "SELECT a FROM t ORDER BY a FORMAT CSV").text.split()
            assert set(map(str, acknowledged)) <= set(held), attempt
            assert len(held) == len(set(held))


def _has_reached(numbers: list[int], count: int) -> bool:
    return len(numbers) >= count


def _insert_until_it_dies(server: StoreProcess, acknowledged: list[int]) -> None:
    number = max(acknowledged, default=-1) + 1_000
    while True:
        number += 1
        try:
            answer = request(
                server, "POST", INSERT, headers=basic(PROCESSOR), body=f"{number}\n".encode()
            )
        except OSError:
            return
        assert answer.status == 200, answer.text
        acknowledged.append(number)


def test_sigterm_lets_an_insert_finish(tmp_path: Path) -> None:
    """What was being sent is taken and acknowledged; a person's query is ended."""
    with StoreProcess(tmp_path / "store") as server:
        ask(server, PROCESSOR, "CREATE DATABASE headrace")
        ask(server, PROCESSOR, "CREATE TABLE headrace.t (a UInt64) ENGINE = MergeTree ORDER BY a")
        half, go_on = threading.Event(), threading.Event()
        answers: list[int] = []
        threads = [
            threading.Thread(target=_slow_insert, args=(server, half, go_on, answers)),
            threading.Thread(target=_endless_query, args=(server,)),
        ]
        for thread in threads:
            thread.start()
        assert half.wait(30)
        wait_for(lambda: ask(server, PROCESSOR, RUNNING).text == "1\n")
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        threads[1].join(30)
        go_on.set()
        stopping.join(60)
        threads[0].join(30)

        assert answers == [200]
        assert server.exit_code == 0
    with server:
        assert ask(server, PROCESSOR, "SELECT sum(a) FROM headrace.t").text == "3\n"


def _slow_insert(
    server: StoreProcess, half: threading.Event, go_on: threading.Event, answers: list[int]
) -> None:
    def body() -> Iterator[bytes]:
        yield b"1\n"
        half.set()
        assert go_on.wait(120)
        yield b"2\n"

    path = INSERT.replace("INTO%20t", "INTO%20headrace.t")
    answer = request(server, "POST", path, headers=basic(PROCESSOR), body=body())
    answers.append(answer.status)


def _endless_query(server: StoreProcess) -> None:
    ask(server, OPERATOR, ENDLESS)


def test_one_process_per_folder(tmp_path: Path) -> None:
    """The second is told so, in a sentence, and the first goes on."""
    with StoreProcess(tmp_path / "store") as first:
        second = StoreProcess(tmp_path / "store")
        sentence = second.start()

        assert second.wait() == 1
        assert "another process has the store's folder" in sentence
        assert "HEADRACE_HOME" in sentence
        assert ask(first, PROCESSOR, "SELECT 1").text == "1\n"


def test_a_folder_of_a_newer_engine_is_left_alone(tmp_path: Path) -> None:
    """In a sentence that says which and what to do."""
    with StoreProcess(tmp_path / "store"):
        pass
    (tmp_path / "store" / "headrace_engine_version").write_text("99.1.1.1\n")
    newer = StoreProcess(tmp_path / "store")
    sentence = newer.start()

    assert "was written by engine 99.1.1.1" in sentence
    assert newer.wait() == 1


def test_a_file_in_the_folders_place_is_a_sentence(tmp_path: Path) -> None:
    """Not a trace."""
    (tmp_path / "store").write_text("x")
    server = StoreProcess(tmp_path / "store")
    sentence = server.start()

    assert sentence.startswith("the store's folder")
    assert server.wait() == 1


def test_a_session_is_not_kept_over_a_start(tmp_path: Path) -> None:
    """What people set is gone, what the processor wrote is there."""
    with StoreProcess(tmp_path / "store") as server:
        ask(server, PROCESSOR, "CREATE DATABASE headrace")
        ask(server, OPERATOR, "SET max_threads = 1", session_id="s")
    with server:
        sql = "SELECT value FROM system.settings WHERE name = 'max_threads'"
        assert ask(server, OPERATOR, sql, session_id="s").text == "4\n"
