"""What `headrace up` prints when the node is ready."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.runtime.banner import Banner
from headrace.runtime.credentials import AnalystLogin, Credentials, StoreLogin
from headrace.runtime.home import Home
from headrace.runtime.settings import read_settings


def banner_of(tmp_path: Path, **environment: str) -> Banner:
    return Banner(
        settings=read_settings(environment),
        home=Home(tmp_path),
        credentials=Credentials(
            "ws_one",
            "hrk_key",
            StoreLogin("http://server:8123", "events", "me", "made-elsewhere"),
            AnalystLogin("", "", ""),
        ),
        collector_url="http://127.0.0.1:8080",
        seconds=1.0,
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_a_servers_password_is_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where HEADRACE_CLICKHOUSE names a server, its address is shown, and no login."""
    url = "http://me:made-elsewhere@server:8123/events"
    banner_of(tmp_path, HEADRACE_CLICKHOUSE=url).print()
    said = capsys.readouterr().out
    assert "store      http://server:8123 " in said
    assert "headrace query" in said
    assert "made-elsewhere" not in said


def test_the_embedded_stores_operator_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Made by the first start for this machine, it is there to be pasted."""
    banner_of(tmp_path).print()
    assert "curl -u me:made-elsewhere" in capsys.readouterr().out


def test_it_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that waits for "is ready" finds what it may paste, too."""
    written: list[str] = []
    monkeypatch.setattr(sys.stdout, "write", written.append)
    banner = banner_of(tmp_path)
    banner.print()
    (text,) = filter(None, written)
    assert "is ready" in text
    assert banner.curl() in text
    assert banner.query_by_curl() in text
