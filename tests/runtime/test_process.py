"""One of a node's processes: how it begins and ends, alone and supervised."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.runtime.child import EXIT_NEEDS_A_PERSON
from headrace.runtime.clock import SystemClock
from headrace.runtime.home import Lock, open_home

PATIENCE = 30.0
CODE = """
import sys, time
from headrace.runtime.process import run_process
from headrace.runtime.settings import read_settings
from headrace.schemas.errors import HeadraceError

async def patient(settings, home, clock, stop, ready):
    ready()
    sys.stderr.write("up\\n")
    await stop.wait()

async def hanging(settings, home, clock, stop, ready):
    ready()
    sys.stderr.write("up\\n")
    time.sleep(1000)

try:
    sys.exit(run_process("thing", read_settings(home=sys.argv[1]), globals()[sys.argv[2]],
                         supervised=sys.argv[3] == "supervised"))
except HeadraceError as error:
    sys.exit(f"said: {error}")
"""


class Process:
    """A process under test, ended with the test."""

    def __init__(self, home: Path, work: str = "patient", how: str = "alone") -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", CODE, str(home), work, how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def until_up(self) -> Process:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            if line == b"up\n":
                return self
        raise AssertionError("it ended")

    def end(self) -> tuple[int, str]:
        _, said = self.popen.communicate(timeout=PATIENCE)
        return self.popen.returncode, said.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_alone_it_ends_with_zero_when_told(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM, Ctrl-C and a hang-up end a process that runs alone, with exit code 0."""
    process = Process(tmp_path).until_up()
    process.popen.send_signal(number)
    assert process.end()[0] == 0


def test_supervised_it_leaves_ctrl_c_to_its_supervisor(tmp_path: Path) -> None:
    """Only SIGTERM ends it, so that the supervisor decides about the order."""
    process = Process(tmp_path, how="supervised").until_up()
    process.popen.send_signal(signal.SIGINT)
    process.popen.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.popen.wait(0.5)
    process.popen.send_signal(signal.SIGTERM)
    assert process.end()[0] == 0


def test_supervised_it_says_ready_on_standard_output_and_nothing_else(tmp_path: Path) -> None:
    """The one word for the supervisor."""
    process = Process(tmp_path, how="supervised").until_up()
    process.popen.send_signal(signal.SIGTERM)
    output, _ = process.popen.communicate(timeout=PATIENCE)
    assert output == b"ready\n"


@pytest.mark.parametrize("work", ["patient", "hanging"])
def test_it_ends_when_its_lifeline_does(tmp_path: Path, work: str) -> None:
    """Without its supervisor a process ends, also when it is stuck."""
    process = Process(tmp_path, work, how="supervised").until_up()
    assert process.popen.stdin is not None
    process.popen.stdin.close()
    process.popen.stdin = None
    code, _ = process.end()
    assert code == (0 if work == "patient" else 1)


@pytest.mark.parametrize(("how", "code"), [("alone", 1), ("supervised", EXIT_NEEDS_A_PERSON)])
def test_a_second_process_of_its_kind_is_refused(tmp_path: Path, how: str, code: int) -> None:
    """One HOME has one writer of each kind; the sentence names the process that has it."""
    home = open_home(tmp_path, version="0.1.0")
    lock = Lock.take(home.process_lock("thing"), SystemClock().now())
    assert lock is not None
    found, said = Process(tmp_path, how=how).end()
    lock.release()
    assert found == code
    assert f"process {os.getpid()}" in said
    assert "Traceback" not in said
