"""Log lines: console and file, rotation by several processes, and no secrets."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from headrace.runtime.logging import SharedFileHandler, configure_logging

KEY = "hrk_0123456789abcdefghijABCDEFGHIJ01234567"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level, hook = root.handlers[:], root.level, sys.excepthook
    yield
    for handler in root.handlers:
        if handler not in before:
            handler.close()
    root.handlers[:], sys.excepthook = before, hook
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def test_lines_of_every_library_go_to_console_and_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours and a library's look alike and carry the process's name."""
    file = tmp_path / "headrace.log"
    configure_logging("collector", level="info", form="console", file=file)
    structlog.get_logger("headrace.x").info("ready", listen="127.0.0.1:1")
    logging.getLogger("library").warning("odd %s", "thing")
    for text in (file.read_text(), capsys.readouterr().err):
        assert [line.split(" ", 1)[1] for line in text.splitlines()] == [
            "info    collector ready listen=127.0.0.1:1",
            "warning collector odd thing",
        ]


def test_json_lines_can_be_read_by_programs(tmp_path: Path) -> None:
    """Every line is an object, exceptions included."""
    file = tmp_path / "headrace.log"
    configure_logging("store", level="info", form="json", file=file)
    try:
        raise ValueError("no")
    except ValueError:
        structlog.get_logger("headrace.x").exception("failed", attempt=2)
    (line,) = map(json.loads, file.read_text().splitlines())
    assert (line["event"], line["process"], line["attempt"]) == ("failed", "store", 2)
    assert "ValueError: no" in line["exception"]


@pytest.mark.parametrize("form", ["console", "json"])
def test_secrets_are_not_logged(tmp_path: Path, form: str) -> None:
    """Neither by name nor inside a text or a traceback."""
    file = tmp_path / "headrace.log"
    configure_logging("collector", level="info", form=form, file=file)
    log = structlog.get_logger("headrace.x")
    log.info(f"used {KEY}", password="geheim", api_key="geheim")
    try:
        raise ValueError(KEY)
    except ValueError:
        log.exception("failed")
    text = file.read_text()
    assert "geheim" not in text
    assert KEY[6:] not in text


def test_levels_are_kept(tmp_path: Path) -> None:
    """What is below the level is not written, and chatty libraries only warn."""
    file = tmp_path / "headrace.log"
    configure_logging("collector", level="info", form="console", file=file)
    structlog.get_logger("headrace.x").debug("no")
    logging.getLogger("uvicorn.error").info("no")
    logging.getLogger("uvicorn.error").error("yes")
    assert [line.split()[-1] for line in file.read_text().splitlines()] == ["yes"]


def test_the_file_is_bounded_and_loses_no_line_between_processes(tmp_path: Path) -> None:
    """Three processes write and rotate one file; every line is in it or its predecessors."""
    code = f"""
import logging, sys; from pathlib import Path
from headrace.runtime.logging import SharedFileHandler
handler = SharedFileHandler(Path({str(tmp_path / "log")!r}), max_bytes=4000, kept=100)
for number in range(300):
    handler.handle(logging.makeLogRecord({{"msg": f"{{sys.argv[1]}}-{{number}}"}}))"""
    writers = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    files = [path for path in tmp_path.glob("log*") if path.suffix != ".lock"]
    lines = [line for path in files for line in path.read_text().splitlines()]
    assert sorted(lines) == sorted(f"{name}-{number}" for name in "abc" for number in range(300))
    assert len(files) > 1
    assert max(path.stat().st_size for path in files) < 4200


def test_old_files_are_dropped(tmp_path: Path) -> None:
    """No more than the kept files and the current one remain."""
    handler = SharedFileHandler(tmp_path / "log", max_bytes=10, kept=2)
    for number in range(9):
        handler.handle(logging.makeLogRecord({"msg": f"line number {number}"}))
    handler.close()
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == [
        "log",
        "log.1",
        "log.2",
    ]


def test_a_file_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    """The line is on the console; the program goes on."""
    (tmp_path / "file").write_text("")
    handler = SharedFileHandler(tmp_path / "file" / "log")
    handler.handle(logging.makeLogRecord({"msg": "x"}))
