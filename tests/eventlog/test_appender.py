"""The local log's appender: group commit, bounds, and files that are not as they should be."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from headrace.eventlog.port import Batch, KeyRecord, NewRecord
from headrace.eventlog.sqlite import file
from headrace.eventlog.sqlite.appender import SqliteAppender
from headrace.eventlog.sqlite.inbox import GROUP_BYTES, MAX_WAITING_BYTES
from headrace.eventlog.sqlite.layout import WrongLayout
from headrace.runtime.clock import ManualClock, SystemClock
from headrace.schemas.errors import Overloaded, Unavailable
from tests.eventlog.adapters import append_when_possible, batch, until
from tests.eventlog.sqlite_files import appending, settle_everything, stored


def remove_log(folder: Path) -> None:
    for found in folder.glob("log.sqlite*"):
        found.unlink()


def commits() -> float:
    return REGISTRY.get_sample_value("headrace_append_records_count") or 0.0


async def test_concurrent_appends_share_commits(tmp_path: Path) -> None:
    """What waits while the disk is busy goes into one transaction."""
    async with appending(tmp_path) as appender:
        before = commits()
        await asyncio.gather(*(appender.append(batch(b"%d" % n)) for n in range(300)))
        assert commits() - before < 100
    assert len(await stored(tmp_path)) == 300


async def test_the_event_loop_is_woken_once_per_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waking the loop costs a system call, so a group's callers are told together."""
    loop = asyncio.get_running_loop()
    wakes: list[str] = []
    wake = loop.call_soon_threadsafe

    def counted(*args: object, **kwargs: object) -> asyncio.Handle:
        wakes.append(threading.current_thread().name)
        return wake(*args, **kwargs)  # type: ignore[arg-type] # whatever the loop takes

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    async with appending(tmp_path) as appender:
        before = commits()
        await asyncio.gather(*(appender.append(batch(b"%d" % n)) for n in range(100)))
        assert wakes.count("log-writer") == commits() - before


async def test_a_full_queue_is_told_at_once(tmp_path: Path) -> None:
    """While the disk stands still, batches wait up to a bound, and are all stored after it."""
    body = batch(bytes(GROUP_BYTES // 2))
    async with appending(tmp_path) as appender:
        lock = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        waiting = [
            appender.append(body)
            for _ in range(2 * MAX_WAITING_BYTES // len(body.records[0].value))
        ]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        lock.close()
        refusals = [str(outcome) for outcome in outcomes if isinstance(outcome, Overloaded)]
        assert any("wait for the disk" in refusal for refusal in refusals)
        await append_when_possible(appender, body)


async def test_a_log_at_its_bound_refuses_until_it_is_drained(tmp_path: Path) -> None:
    """`max_bytes` bounds what is kept; settled records make room without a restart."""
    async with appending(tmp_path, max_bytes=2 * 1024**2) as appender:
        refusal = await _append_until_refused(appender)
        assert "HEADRACE_LOG_MAX_BYTES" in str(refusal)
        assert not appender.is_writable()
        assert (tmp_path / "log.sqlite").stat().st_size <= 2.5 * 1024**2
        await settle_everything(tmp_path)
        await until(lambda: asyncio.to_thread(appender.is_writable))
        await appender.append(batch(os.urandom(100_000)))


async def _append_until_refused(appender: SqliteAppender) -> Overloaded:
    for _ in range(1000):
        try:
            await appender.append(batch(os.urandom(100_000)))
        except Overloaded as refusal:
            return refusal
    raise AssertionError("the log took everything")


async def test_a_key_is_not_kept_without_its_batch(tmp_path: Path) -> None:
    """Records and key are one transaction: a trigger that stops the key stops the records."""
    async with appending(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "log.sqlite") as connection:
        connection.execute(
            "CREATE TRIGGER no_keys BEFORE INSERT ON keys BEGIN SELECT raise(ABORT, 'no'); END"
        )
    connection.close()
    clock = SystemClock()
    async with appending(tmp_path) as appender:
        key = KeyRecord(b"key", b"value", clock.now() + timedelta(hours=1))
        with pytest.raises(Overloaded):
            await appender.append(batch(b"with a key"), key_record=key)
        await append_when_possible(appender, batch(b"without"))
    assert [record.value for record in await stored(tmp_path)] == [b"without"]


async def test_expired_keys_leave_the_file(tmp_path: Path) -> None:
    """Keys are deleted when their time is over, so that they do not fill the disk."""
    clock = ManualClock()
    async with appending(tmp_path, clock=clock) as appender:
        soon, later = (clock.now() + timedelta(hours=hours) for hours in (1, 2))
        keys = [
            KeyRecord(b"%d" % number, b"value", later if number % 100 == 0 else soon)
            for number in range(600)
        ]
        await asyncio.gather(*(appender.append(Batch([]), key_record=key) for key in keys))
        clock.advance(3600)

        async def only_later_ones() -> bool:
            connection = sqlite3.connect(f"file:{tmp_path}/log.sqlite?mode=ro", uri=True)
            (count,) = connection.execute("SELECT count(*) FROM keys").fetchone()
            connection.close()
            return bool(count == 6)

        await until(only_later_ones)


@pytest.mark.parametrize("name", ["log.sqlite", "positions.sqlite"])
async def test_a_file_of_a_newer_layout_is_refused_with_a_sentence(
    tmp_path: Path, name: str
) -> None:
    """Nobody writes into a file of a newer version; the message says what to do."""
    async with appending(tmp_path) as appender:
        await appender.append(batch(b"1"))
    await settle_everything(tmp_path)
    with sqlite3.connect(tmp_path / name) as connection:
        connection.execute("UPDATE meta SET layout = 3")
    connection.close()
    with pytest.raises(WrongLayout, match="layout 3 and this Headrace knows layouts 1 to 2: start"):
        await settle_everything(tmp_path)


async def test_a_log_of_an_older_layout_is_read_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not settled before the upgrade is settled after it, by whoever starts first."""
    with monkeypatch.context() as patch:
        patch.setattr(file, "pack", bytes)
        async with appending(tmp_path) as appender:
            await appender.append(batch(*[b"old" * 100] * 50))
    with sqlite3.connect(tmp_path / "log.sqlite") as connection:
        connection.execute("UPDATE meta SET layout = 1")
    connection.close()
    assert [record.value for record in await stored(tmp_path)] == [b"old" * 100] * 50
    async with appending(tmp_path) as appender:
        await appender.append(batch(*[b"new" * 100] * 50))
    values = [record.value for record in await stored(tmp_path)]
    assert values == [b"old" * 100] * 50 + [b"new" * 100] * 50
    with sqlite3.connect(tmp_path / "log.sqlite") as connection:
        assert connection.execute("SELECT layout FROM meta").fetchone() == (2,)
        sizes = connection.execute("SELECT bytes, length(body) FROM chunks").fetchall()
    connection.close()
    assert [stored_bytes < size / 10 for size, stored_bytes in sizes] == [False, True]


async def test_an_appender_refuses_a_newer_log(tmp_path: Path) -> None:
    """The collector does not start on a log of a newer version."""
    async with appending(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "log.sqlite") as connection:
        connection.execute("UPDATE meta SET layout = 3")
    connection.close()
    with pytest.raises(WrongLayout, match="HEADRACE_HOME"):
        async with appending(tmp_path):
            pass


async def test_a_log_removed_under_its_writer_is_noticed(tmp_path: Path) -> None:
    """Nothing is acknowledged that went into a file nobody will read; a new log is made."""
    async with appending(tmp_path) as appender:
        old = appender.log_id
        await appender.append(batch(b"old"))
        remove_log(tmp_path)
        with pytest.raises((Unavailable, Overloaded)):
            await appender.append(batch(b"lost"))
        await append_when_possible(appender, batch(b"new"))
        assert appender.log_id != old
    assert [record.value for record in await stored(tmp_path)] == [b"new"]


async def test_records_hold_any_bytes(tmp_path: Path) -> None:
    """Keys, values and headers come back byte for byte, empty ones too."""
    every_byte = bytes(range(256))
    async with appending(tmp_path) as appender:
        records = [NewRecord(every_byte, b""), NewRecord(b"", every_byte)]
        await appender.append(Batch(records, {"": b"", "any": every_byte}))
    found = await stored(tmp_path)
    assert [(r.key, r.value) for r in found] == [(every_byte, b""), (b"", every_byte)]
    assert found[0].headers == {"": b"", "any": every_byte}
