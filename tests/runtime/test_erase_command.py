"""What `headrace erase` says of idempotency records that it could not have emptied."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from headrace.eventlog.port import Batch, KeyRecord
from headrace.runtime.clock import SystemClock
from headrace.runtime.commands import erase
from headrace.runtime.reach import settings_for
from tests.eventlog.sqlite_files import appending
from tests.runtime.homes import make_home
from tests.services.ports import free_port


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(erase, "_FORGET_SECONDS", 0.2)
    return make_home(tmp_path / "home")


async def keep_an_answer(home: Path) -> None:
    later = SystemClock().now() + timedelta(hours=1)
    async with appending(home) as log:
        await log.append(Batch([]), key_record=KeyRecord(b"key", b"of ws_1", later))


async def test_without_a_collector_it_is_pending(home: Path) -> None:
    """Counted, and done when one runs."""
    await keep_an_answer(home)
    count, pending = erase._forget_answers(settings_for(home), b"ws_1")
    assert (count, len(pending)) == (1, 1)
    assert "as soon as it runs" in pending[0]
    async with appending(home):
        while list(home.glob("*forget*")):  # noqa: ASYNC110, ASYNC240 - another thread does it
            await asyncio.sleep(0.05)


async def test_what_cannot_be_asked_is_said_and_costs_no_receipt(home: Path) -> None:
    """A log that is none, a Redis that is away."""
    settings = settings_for(home)
    assert erase._forget_answers(settings, b"ws_1") == (0, ())
    (home / "log.sqlite").write_text("no database, by far not long enough to be one")
    count, (pending,) = erase._forget_answers(settings, b"ws_1")
    assert (count, "run it again" in pending) == (0, True)
    away = msgspec.structs.replace(settings, redis=f"redis://127.0.0.1:{free_port()}/0")
    found = await asyncio.to_thread(erase._forget_answers, away, b"ws_1")
    assert (found[0], "run it again" in found[1][0]) == (0, True)
