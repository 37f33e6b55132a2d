"""Several processes on one database: opening, writing and noticing at the same time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence

from headrace.runtime.clock import SystemClock
from headrace.workspaces.database import ControlData
from headrace.workspaces.directory import LiveDirectory
from headrace.workspaces.engine import make_engine
from headrace.workspaces.migrate import NEWEST, version_of
from tests.workspaces.test_migrate import bring_to
from tests.workspaces.waiting import until

OPEN = """
import sys
from headrace.workspaces.database import ControlData
control = ControlData.open(sys.argv[1])
"""
MAKE_WORKSPACE = OPEN + "print(control.create_workspace(sys.argv[2]).id)"
MAKE_KEYS = (
    OPEN
    + """
workspace = control.find_workspace("Shop")
for _ in range(int(sys.argv[2])):
    print(control.create_key(workspace))
"""
)
WAIT = (
    OPEN
    + """
print("ready", flush=True)
sys.stdin.readline()
"""
)
NOTE_LOG = WAIT + "print(control.note_log('a' * 32, sys.argv[2], 12).name)"
CLAIM = (
    WAIT
    + """
from headrace.workspaces.errors import Taken
try:
    print(control.create_workspace("Shop").id)
except Taken as error:
    print("taken")
"""
)
REVOKE = OPEN + "control.revoke_key(sys.argv[2])"


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def together(program: str, *arguments: Sequence[str]) -> list[subprocess.Popen[str]]:
    """One process for each row of arguments, let go when all are ready."""
    processes = [start(program, *row) for row in arguments]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return processes


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    lines: list[str] = []
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        lines += out.split()
    return lines


def test_the_first_open_may_be_several(url: str) -> None:
    """Processes that start together on an empty database migrate it once."""
    made = finish([start(MAKE_WORKSPACE, url, f"workspace {number}") for number in range(5)])
    control = ControlData.open(url)
    assert {workspace.id for workspace in control.list_workspaces()} == set(made)
    assert len(made) == 5
    control.close()


def test_an_older_database_may_be_opened_by_several(url: str) -> None:
    """One brings it along, the others wait and find it done."""
    engine = make_engine(url)
    with engine.begin() as connection:
        bring_to(connection, "0001")
    engine.dispose()
    made = finish([start(MAKE_WORKSPACE, url, f"workspace {number}") for number in range(5)])
    assert len(made) == 5
    with engine.connect() as connection:
        assert version_of(connection) == NEWEST
    engine.dispose()


def test_a_name_is_given_to_one_of_those_who_ask_at_once(url: str) -> None:
    """The others are told that it is taken, whoever was first."""
    ControlData.open(url).close()
    said = finish(together(CLAIM, *[[url]] * 5))
    assert said.count("taken") == 4
    control = ControlData.open(url)
    assert [workspace.id for workspace in control.list_workspaces()] == sorted(said)[-1:]
    control.close()


def test_a_log_seen_by_several_at_once_is_noted_once(url: str) -> None:
    """The first to see it decides; the others find what it noted."""
    said = finish(together(NOTE_LOG, *([url, f"name-{number}"] for number in range(5))))
    control = ControlData.open(url)
    assert [log.name for log in control.list_logs()] == [said[0]]
    assert len(set(said)) == 1
    control.close()


def test_writers_wait_for_each_other(url: str) -> None:
    """Every key that was printed is known, and each write made a revision."""
    control = ControlData.open(url)
    control.create_workspace("Shop")
    before = control.revision()
    made = finish([start(MAKE_KEYS, url, "10") for _ in range(4)])
    snapshot = control.snapshot()
    assert len(set(made)) == 40
    assert all(snapshot.find_key(key) for key in made)
    assert control.revision() == before + 40
    control.close()


async def test_another_process_is_noticed(url: str) -> None:
    """A key made by the command line works in a running process; a revoked one no more."""
    control = ControlData.open(url)
    control.create_workspace("Shop")
    directory = LiveDirectory(control, SystemClock())
    task = asyncio.create_task(directory.run())
    [key] = await asyncio.to_thread(lambda: finish([start(MAKE_KEYS, url, "1")]))
    await until(lambda: directory.find_key(key) is not None)
    await asyncio.to_thread(lambda: finish([start(REVOKE, url, key)]))
    await until(lambda: getattr(directory.find_key(key), "revoked_at", None) is not None)
    directory.stop()
    await task
    control.close()
