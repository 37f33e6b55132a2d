"""`headrace up`: what it prints, how it ends, and what it refuses to start on."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import clickhouse_connect
import psutil
import pytest

from headrace.runtime.credentials import read_processor_login
from headrace.runtime.home import LAYOUT
from tests.eventlog.test_full_disk import mount
from tests.scenarios.node import HEADRACE, PATIENCE_SECONDS, PROCESSES, READY, Node, post, until
from tests.scenarios.terminal import CTRL_C, CTRL_Z, on_terminal

pytestmark = pytest.mark.node
MakeNode = Callable[..., Node]


def pasted(lines: str, node: Node) -> str:
    """What a shell answers to pasted lines."""
    done = subprocess.run(
        ["bash", "-c", lines],
        env=node.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def block(said: str, title: str) -> str:
    """The lines under a title."""
    found = re.search(rf"^{title}\n\n(.*?)\n\n", said, re.MULTILINE | re.DOTALL)
    assert found, said
    return found[1]


def test_what_it_prints_works_when_pasted(shared_node: Node) -> None:
    """The curl line sends an event, and both queries show it."""
    said = shared_node.said()
    answer = json.loads(pasted(block(said, "Send an event:") + " --silent", shared_node))
    assert answer["status"] == "ok"
    shared_node.until_settled()
    queries = block(said, "See it in ClickHouse:").splitlines()
    assert len(queries) == 2
    for query in queries:
        assert "paywall_viewed" in pasted(query, shared_node)


def test_it_says_what_runs_where(shared_node: Node) -> None:
    """Addresses and files, without colours where nobody looks."""
    said = shared_node.said()
    for expected in (shared_node.url, shared_node.store_listen, str(shared_node.home.credentials)):
        assert expected in said
    assert "\x1b" not in said


def test_three_processes_run_under_their_names(shared_node: Node) -> None:
    """The command lines say which is which; all are in the node's own process group."""
    assert shared_node.process is not None
    children = psutil.Process(shared_node.process.pid).children()
    lines = {" ".join(child.cmdline()) for child in children}
    for name in PROCESSES:
        assert any(f"headrace {name} --home" in line for line in lines)


def test_credentials_are_for_their_owner_alone(shared_node: Node) -> None:
    """The file is 0600, and the log file holds none of what is in it."""
    assert stat.S_IMODE(shared_node.home.credentials.stat().st_mode) == 0o600
    logged = shared_node.home.log_file.read_text()
    credentials = shared_node.credentials
    assert credentials.api_key not in logged
    assert credentials.clickhouse.password not in logged


def test_operator_and_analyst_can_log_in(shared_node: Node) -> None:
    """The operator reads everything, the analyst of `default` has the same views."""
    tables = {row[0] for row in shared_node.rows("SHOW TABLES")}
    assert {"events", "rejected_events", "deduplicated_events", "identity_links"} <= tables
    login = shared_node.credentials.analyst
    done = pasted(
        f"curl --silent --fail -u {login.user}:{login.password} "
        f"'http://{shared_node.store_listen}/?database={login.database}' "
        "--data-binary 'SELECT count() >= 0 FROM events'",
        shared_node,
    )
    assert done.strip() == "1"


def test_a_second_node_on_the_same_home_is_refused(shared_node: Node) -> None:
    """The sentence names the process that has it."""
    assert shared_node.process is not None
    done = shared_node.run("up")
    assert done.returncode == 1
    assert f"is in use by process {shared_node.process.pid}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("which", ["listen", "store_listen"])
def test_a_port_in_use_is_named_with_its_variable(make_node: MakeNode, which: str) -> None:
    """Before anything is started."""
    node = make_node()
    host, _, port = getattr(node, which).partition(":")
    with socket.create_server((host, int(port))):
        done = node.run("up")
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr
    assert f"HEADRACE_{which.upper()}=" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_home_of_a_newer_version_is_refused(make_node: MakeNode) -> None:
    """The sentence names the version that made it."""
    node = make_node()
    node.home.root.mkdir()
    node.home.version.write_text(f'{{"layout": {LAYOUT + 1}, "version": "7.0.0"}}')
    done = node.run("up")
    assert done.returncode == 1
    assert "was made by headrace 7.0.0" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("is_filled", [False, True])
def test_a_disk_without_room_is_refused(
    make_node: MakeNode, tmp_path: Path, is_filled: bool
) -> None:
    """A real one, nearly full and full to the last byte: a sentence that says what to do."""
    disk = mount(tmp_path)
    try:
        if is_filled:
            disk.fill()
        done = make_node().run("up", "--home", str(disk.folder / "home"))
    finally:
        disk.unmount()
    assert done.returncode == 1
    assert re.search(r"disk .*is (nearly )?full", done.stderr)
    assert "HEADRACE_HOME" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_home_that_cannot_be_made_is_refused(make_node: MakeNode) -> None:
    """A file where the folder should be."""
    node = make_node()
    node.home.root.write_text("")
    done = node.run("up")
    assert done.returncode == 1
    assert "file in the way" in done.stderr


def test_settings_that_cannot_be_used_are_refused(make_node: MakeNode) -> None:
    """All of them in one message, with the exit code of a usage error."""
    done = make_node(HEADRACE_FLUSH_ROWS="many", HEADRACE_NONSENSE="1").run("up")
    assert done.returncode == 2
    assert "HEADRACE_FLUSH_ROWS='many'" in done.stderr
    assert "HEADRACE_NONSENSE: there is no such setting" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_it_ends_with_zero_when_told(make_node: MakeNode, number: signal.Signals) -> None:
    """Ctrl-C and a hang-up are as good as SIGTERM."""
    assert make_node().start().stop(number) == 0


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.2, 0.3])
def test_it_ends_with_zero_while_it_is_starting(make_node: MakeNode, seconds: float) -> None:
    """A signal before the node is ready ends it too, wherever it is just then (opening control
    data, in the middle of an import), and the next start completes it."""
    node = make_node()
    process = node.launch()
    until(node.home.credentials.exists, "credentials are written")
    time.sleep(seconds)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert "Traceback" not in node.said()
    node.start()
    assert node.stop() == 0


def test_a_second_signal_does_not_hang_it(make_node: MakeNode) -> None:
    """Told twice, it ends at once, with 0, also when a process does not react."""
    node = make_node().start()
    psutil.Process(node.pid("processor")).suspend()
    assert node.process is not None
    node.process.send_signal(signal.SIGTERM)
    until(lambda: "ending" in node.said(), "it says that it is ending")
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(PATIENCE_SECONDS) == 0


def test_ctrl_c_on_a_terminal_ends_it(make_node: MakeNode) -> None:
    """The keys go to the node, which prints in colour and ends with 0."""
    node = make_node()
    with on_terminal(node.environment, HEADRACE, "up") as terminal:
        terminal.until_shown(READY)
        assert "\x1b[" in terminal.shown
        terminal.press(CTRL_C)
        assert terminal.end() == 0
    assert node.run("status").returncode == 3


def test_ctrl_c_reaches_a_node_that_a_script_started(make_node: MakeNode) -> None:
    """Under a shell or make the node takes the foreground and gives it back; Ctrl-Z, which
    would leave nobody to wake it, does nothing."""
    node = make_node()
    script = f'{HEADRACE} up; echo "ended with $?"'
    with on_terminal(node.environment, "sh", "-c", script) as terminal:
        terminal.until_shown(READY)
        assert terminal.foreground() == node.state.pid
        terminal.press(CTRL_Z)
        assert node.run("query", "SELECT 1").returncode == 0
        terminal.press(CTRL_C)
        terminal.until_shown("ended with 0")
        assert terminal.end() == 0


def test_a_second_start_keeps_data_and_credentials(make_node: MakeNode) -> None:
    """What was sent before is there after a restart, and the old key still works."""
    node = make_node().start()
    before = node.credentials
    event = {"event": "kept", "user_id": "u", "timestamp": "2026-01-01T00:00:00Z"}
    ids = [post(f"{node.url}/v1/events", before.api_key, event).json()["event_id"]]
    assert node.stop() == 0
    node.start()
    assert node.credentials == before
    ids.append(post(f"{node.url}/v1/events", before.api_key, event).json()["event_id"])
    node.until_settled()
    found = node.rows("SELECT event_id FROM events WHERE event = 'kept'")
    assert sorted(row[0] for row in found) == sorted(ids)


def test_a_process_that_needs_a_person_ends_the_node(make_node: MakeNode) -> None:
    """With tables of a newer version the node does not restart for ever: it says so and ends."""
    node = make_node().start()
    login = read_processor_login(node.home)
    host, _, port = node.store_listen.partition(":")
    client = clickhouse_connect.get_client(
        host=host, port=int(port), username=login.user, password=login.password
    )
    with contextlib.closing(client):
        client.command("INSERT INTO headrace.migrations (number, name) VALUES (9999, 'future')")
    assert node.stop() == 0
    done = node.run("up")
    assert done.returncode == 1
    assert "migration 9999" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("headrace: the processor cannot start")
