"""The command line as a whole: its list of commands and how it fails."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.runtime.main import COMMANDS, main
from tests.scenarios.node import HEADRACE, clean_environment


def headrace(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HEADRACE, *arguments], env=clean_environment(), capture_output=True, text=True, timeout=60
    )


def test_help_lists_every_command() -> None:
    """One line each, without a traceback and without running anything."""
    done = headrace("--help")
    assert done.returncode == 0
    for name, _, text, _ in COMMANDS:
        assert name in done.stdout
        assert text.split()[0] in done.stdout


@pytest.mark.parametrize("path", [path for _, path, _, _ in COMMANDS])
def test_every_command_is_there(path: str) -> None:
    """What the list names can be imported."""
    module, _, name = path.partition(":")
    assert hasattr(importlib.import_module(f"headrace.runtime.commands.{module}"), name)


def test_help_imports_no_command() -> None:
    """So that it is fast: no driver, no web framework, no engine."""
    code = (
        "import sys; from headrace.runtime.main import build_cli; build_cli().help_print([]);"
        "print(sorted(set(sys.modules) & {'sqlalchemy', 'starlette', 'chdb', 'httpx2'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["nonsense"], ["up", "--nonsense"]])
def test_a_usage_error_is_two(arguments: list[str]) -> None:
    """An unknown command or option is said without a traceback."""
    done = headrace(*arguments)
    assert done.returncode == 2
    assert "nonsense" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_trouble_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What Headrace raises on purpose is printed as it is, with exit code 1."""
    monkeypatch.setattr(sys, "argv", ["headrace", "query", "--home", "/nowhere/at/all", "SELECT 1"])
    assert main() == 1
    assert capsys.readouterr().err.startswith("headrace: there are no credentials in /nowhere")


@pytest.mark.parametrize("command", ["status", "query", "check", "keys"])
def test_a_home_that_is_no_folder_is_told(tmp_path: Path, command: str) -> None:
    """In a sentence that says which file and which option."""
    (tmp_path / "home").touch()
    arguments = {"query": ["query", "SELECT 1"], "keys": ["keys", "list"]}.get(command, [command])
    done = headrace(*arguments, "--home", str(tmp_path / "home"))
    assert done.returncode == 1
    assert f"{tmp_path}/home" in done.stderr
    assert "Not a directory" in done.stderr
    assert "--home" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "SELECT 1", "--max-rows", "-1"],
        ["rejected", "list", "--limit", "-1"],
        ["rejected", "replay", "--limit", "-1"],
        ["rejected", "replay", "--wait-seconds", "-1"],
    ],
)
def test_numbers_below_nothing_are_usage_errors(arguments: list[str]) -> None:
    """Before anything is done with them."""
    done = headrace(*arguments)
    assert done.returncode == 2
    assert "Must be >= 0" in done.stdout + done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["settings"], ["sample", "5"], ["sample", "5000"]])
def test_output_that_finds_no_room_is_told(arguments: list[str]) -> None:
    """`headrace sample > file` on a full disk is one sentence, however late it is noticed."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [HEADRACE, *arguments],
            env=clean_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "headrace: cannot write the output: the disk is full; make room\n",
    )
