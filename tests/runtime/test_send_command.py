"""`headrace send` as a person runs it: files in, a summary and an exit code out."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.runtime.commands.send import run
from headrace.schemas.errors import HeadraceError
from tests.runtime.serving import ScriptedCollector, serving, trouble
from tests.scenarios.node import clean_environment
from tests.scenarios.terminal import on_terminal

TIME = "2026-01-01T00:00:00Z"


def lines(count: int, **more: Any) -> bytes:
    return b"".join(
        json.dumps({"event": "e", "user_id": f"u{n}", "timestamp": TIME, **more}).encode() + b"\n"
        for n in range(count)
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.ndjson"


@pytest.fixture
def collector() -> ScriptedCollector:
    return ScriptedCollector()


@pytest.fixture
def url(collector: ScriptedCollector) -> Iterator[str]:
    with serving(collector.app) as url:
        yield url


def users(collector: ScriptedCollector) -> list[str]:
    return sorted(event["user_id"] for event in collector.events)


def test_a_file_goes_in_whole(
    file: Path, url: str, collector: ScriptedCollector, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every event once, in batches; the summary counts them; the exit code is 0."""
    file.write_bytes(lines(2_500))
    assert run(file, url=url, key="k") == 0
    assert len(set(users(collector))) == len(users(collector)) == 2_500
    assert sorted(map(len, collector.taken.values())) == [500, 1_000, 1_000]
    printed = capsys.readouterr().out
    assert "accepted" in printed
    assert "2,500" in printed
    assert "events/s" in printed


@pytest.mark.parametrize("concurrency", [1, 7])
def test_the_same_file_again_adds_nothing(
    file: Path,
    url: str,
    collector: ScriptedCollector,
    capsys: pytest.CaptureFixture[str],
    concurrency: int,
) -> None:
    """Also compressed, under another name, with another number of requests at once."""
    file.write_bytes(lines(250) + lines(50) * 3)
    again = file.with_suffix(".gz")
    again.write_bytes(gzip.compress(file.read_bytes()))
    assert run(file, url=url, key="k", batch_size=50) == 0
    assert len(collector.events) == 400
    assert run(again, url=url, key="k", batch_size=50, concurrency=concurrency) == 0
    assert len(collector.events) == 400
    assert "400 of them had been taken before" in capsys.readouterr().out


def test_fields_are_named_by_paths(file: Path, url: str, collector: ScriptedCollector) -> None:
    """The mapping of a foreign file, with the whole line as properties."""
    line = {"type": "t", "at": TIME, "attribute": {"user_id": None, "installation_id": "d"}}
    file.write_bytes(json.dumps(line).encode())
    code = run(
        file,
        event="type",
        user_id="attribute.user_id",
        anonymous_id="attribute.installation_id",
        timestamp="at",
        properties=".",
        url=url,
        key="k",
    )
    assert code == 0
    assert collector.events == [
        {"event": "t", "anonymous_id": "d", "timestamp": TIME, "properties": line}
    ]


def test_bad_lines_do_not_stop_the_rest(
    file: Path, url: str, collector: ScriptedCollector, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are counted by reason with their numbers, and the exit code says so."""
    file.write_bytes(lines(5) + b"nonsense\n{}\n" + lines(5))
    assert run(file, url=url, key="k") == 3
    assert len(collector.events) == 10
    printed = capsys.readouterr().out
    assert "not_json" in printed
    assert "line 6: " in printed
    assert "line 7: no value at `event` (--event)" in printed


def test_rejected_events_are_counted_by_reason(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the line the first one came from, whatever batch it was in."""
    collector = ScriptedCollector(
        check=lambda event: "too_long" if event["user_id"] in {"u7", "u9"} else None
    )
    file.write_bytes(b"\n" + lines(12))
    with serving(collector.app) as url:
        assert run(file, url=url, key="k", batch_size=4) == 3
    printed = capsys.readouterr().out
    assert "too_long" in printed
    assert "line 9, 11: too_long it is" in printed or "line 11, 9: too_long it is" in printed


@pytest.mark.parametrize(("status", "error"), [(429, "rate_limited"), (503, "log_full")])
def test_being_told_to_wait_is_waited_out(
    file: Path, capsys: pytest.CaptureFixture[str], status: int, error: str
) -> None:
    """Every event arrives, and whoever watches is told why nothing moved."""
    answers = [trouble(status, error, Retry_After="1") for _ in range(2)]
    collector = ScriptedCollector(*answers)
    file.write_bytes(lines(30))
    started = time.monotonic()
    with serving(collector.app) as url:
        assert run(file, url=url, key="k", batch_size=10) == 0
    assert time.monotonic() - started >= 1.0
    assert len(collector.events) == 30
    assert "going on in 1 s" in capsys.readouterr().err


def test_a_terminal_shows_how_far_it_is(file: Path) -> None:
    """A bar over the file's bytes, and at its end the summary."""
    file.write_bytes(lines(5_000))
    program = str(Path(sys.executable).with_name("headrace"))
    with serving(ScriptedCollector().app) as url:
        command = [program, "send", str(file), "--url", url, "--key", "k"]
        with on_terminal(clean_environment(TERM="xterm", COLUMNS="120"), *command) as terminal:
            terminal.until_shown("accepted")
            assert terminal.end() == 0
    assert "━━━" in terminal.shown
    assert f"/{file.stat().st_size / 1000:.1f} kB" in terminal.shown


def test_a_refused_key_ends_with_a_sentence(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And with the summary of what was done, and the exit code of an import cut short."""
    collector = ScriptedCollector(*(trouble(401, "invalid_key") for _ in range(10)))
    file.write_bytes(lines(30))
    with serving(collector.app) as url:
        assert run(file, url=url, key="k") == 1
    printed = capsys.readouterr()
    assert "it answered 401: invalid_key!" in printed.err
    assert "Run the same command again" in printed.err
    assert "accepted" in printed.out


def test_a_damaged_file_sends_what_can_be_read(
    file: Path, url: str, collector: ScriptedCollector, capsys: pytest.CaptureFixture[str]
) -> None:
    """In whole batches, so that the whole file sent later adds only the rest."""
    content = lines(5_000, properties={"text": "x" * 100})
    file.write_bytes(gzip.compress(content)[:-2_000])
    assert run(file, url=url, key="k") == 1
    assert "cut short" in capsys.readouterr().err
    assert 0 < len(collector.events) < 5_000
    file.write_bytes(gzip.compress(content))
    assert run(file, url=url, key="k") == 0
    assert len(set(users(collector))) == len(collector.events) == 5_000


def test_an_empty_file_is_done_at_once(file: Path, url: str, collector: ScriptedCollector) -> None:
    """Nothing to send is no trouble."""
    file.write_bytes(b"")
    assert run(file, url=url, key="k") == 0
    assert collector.requests == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "--batch-size 0"),
        ({"batch_size": 1_001}, "from 1 to 1,000"),
        ({"concurrency": 0}, "--concurrency 0"),
        ({"event": "a..b"}, "is not a path"),
        ({"url": "collector:8080"}, "is not a URL"),
        ({"url": "https://elsewhere.example", "key": None}, "give the key for https://elsewhere"),
        ({"key_file": Path("nowhere")}, "--key and --key-file were both given"),
        ({"key": None, "key_file": Path("nowhere")}, "cannot read nowhere"),
        ({"key": "hrk_…"}, "characters that no key has"),
    ],
)
def test_options_that_cannot_be_used_are_told(
    file: Path, options: dict[str, Any], message: str
) -> None:
    """Before anything is sent."""
    file.write_bytes(lines(1))
    with pytest.raises(HeadraceError, match=message):
        run(file, **{"url": "http://127.0.0.1:1", "key": "k"} | options)


def test_without_a_node_the_sentence_says_what_to_do(file: Path, tmp_path: Path) -> None:
    """HOME's node is where events go if nothing else is said."""
    file.write_bytes(lines(1))
    with pytest.raises(HeadraceError, match="headrace up"):
        run(file, home=tmp_path / "none")


def headrace(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [Path(sys.executable).with_name("headrace"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_standard_input_and_a_key_file(
    tmp_path: Path, url: str, collector: ScriptedCollector
) -> None:
    """`-` reads a pipe, compressed or not; the key stays off the command line."""
    key_file = tmp_path / "key"
    key_file.write_text("hrk_secret\n")
    process = headrace(
        "send", "-", "--url", url, "--key-file", str(key_file), stdin=subprocess.PIPE
    )
    out, err = process.communicate(gzip.compress(lines(1_500)), timeout=60)
    assert process.returncode == 0, err
    assert len(collector.events) == 1_500
    assert b"1,500" in out
    assert {request.headers["Authorization"] for request in collector.requests} == {
        "Bearer hrk_secret"
    }


def wait_for_events(collector: ScriptedCollector, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(collector.events) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_import_can_be_repeated(
    url: str, collector: ScriptedCollector, file: Path, how: signal.Signals
) -> None:
    """Stopped in the middle, run again: every event is there, and there once."""
    content = lines(20_000)
    process = headrace(
        "send", "--url", url, "--key", "k", "--batch-size", "100", stdin=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(content[: len(content) // 2])
    process.stdin.flush()
    wait_for_events(collector, 3_000)
    process.send_signal(how)
    process.wait(timeout=60)  # before its input ends, which would end it in another way
    _, err = process.communicate()
    if how is signal.SIGINT:
        assert process.returncode == 130, err
        assert b"Run the same command again" in err
    assert 3_000 <= len(collector.events) < 20_000
    file.write_bytes(content)
    assert run(file, url=url, key="k", batch_size=100, concurrency=2) == 0
    assert len(set(users(collector))) == len(collector.events) == 20_000
