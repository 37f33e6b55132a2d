"""How a running process keeps its snapshot fresh and writes uses back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from unittest import mock

import pytest
from structlog.testing import capture_logs

from headrace.runtime.clock import ManualClock
from headrace.schemas.errors import Unavailable
from headrace.workspaces.database import ControlData
from headrace.workspaces.directory import POLL_SECONDS, WRITE_BACK_SECONDS, LiveDirectory
from headrace.workspaces.snapshot import Snapshot
from tests.workspaces.waiting import until


class Watched(ControlData):
    """Control data that counts what is asked of it and can be made unreachable."""

    away = False
    polls = 0
    snapshots = 0
    writes = 0

    def revision(self) -> int:
        self.polls += 1
        if self.away:
            raise Unavailable("it is away")
        return super().revision()

    def snapshot(self) -> Snapshot:
        self.snapshots += 1
        return super().snapshot()

    def note_uses(self, uses: Mapping[str, datetime]) -> None:
        if self.away:
            raise Unavailable("it is away")
        self.writes += 1
        super().note_uses(uses)


@pytest.fixture
def watched(control: ControlData, clock: ManualClock) -> Watched:
    return Watched(control._engine, clock)


@asynccontextmanager
async def running(directory: LiveDirectory) -> AsyncIterator[None]:
    task = asyncio.create_task(directory.run())
    try:
        yield
    finally:
        directory.stop()
        await task


async def polled(control: Watched, times: int = 2) -> None:
    seen = control.polls
    await until(lambda: control.polls >= seen + times)


async def test_a_change_is_in_force_soon(watched: Watched, clock: ManualClock) -> None:
    """A key made while the process runs is found; so is its revocation."""
    assert POLL_SECONDS <= 0.25
    directory = LiveDirectory(watched, clock)
    async with running(directory):
        key = watched.create_key(watched.create_workspace("Shop"))
        await until(lambda: directory.find_key(key) is not None)
        watched.revoke_key(key)
        await until(lambda: getattr(directory.find_key(key), "revoked_at", None) is not None)


async def test_nothing_is_read_again_when_nothing_changed(
    watched: Watched, clock: ManualClock
) -> None:
    """A poll asks for one number; uses written back do not change it."""
    key = watched.create_key(watched.create_workspace("Shop"))
    directory = LiveDirectory(watched, clock)
    async with running(directory):
        found = directory.find_key(key)
        assert found is not None
        directory.note_use(found, clock.now())
        clock.advance(WRITE_BACK_SECONDS)
        await until(lambda: watched.writes == 1)
        await polled(watched)
    assert watched.snapshots == 1
    assert watched.list_keys()[0].last_used_at == found.created_at


async def test_uses_are_written_back_coarsely(watched: Watched, clock: ManualClock) -> None:
    """However often a key is used, one write in ten seconds, with the latest time."""
    key = watched.create_key(watched.create_workspace("Shop"))
    directory = LiveDirectory(watched, clock)
    found = directory.find_key(key)
    assert found is not None
    async with running(directory):
        for _ in range(1_000):
            clock.advance(0.001)
            directory.note_use(found, clock.now())
        await polled(watched)
        assert watched.writes == 0
        clock.advance(WRITE_BACK_SECONDS)
        await until(lambda: watched.writes == 1)
        await polled(watched)
        assert watched.writes == 1
    assert watched.writes == 1
    last = watched.list_keys()[0].last_used_at
    assert last is not None
    assert (last - found.created_at).total_seconds() == 1


@pytest.mark.parametrize("cancelled", [False, True])
async def test_uses_are_written_back_at_the_end(
    watched: Watched, clock: ManualClock, cancelled: bool
) -> None:
    """Stopping and cancelling both lose no use."""
    key = watched.create_key(watched.create_workspace("Shop"))
    directory = LiveDirectory(watched, clock)
    task = asyncio.create_task(directory.run())
    await polled(watched)
    found = directory.find_key(key)
    assert found is not None
    directory.note_use(found, clock.now())
    if cancelled:
        task.cancel()
    else:
        directory.stop()
    with suppress(asyncio.CancelledError):
        await task
    assert watched.list_keys()[0].last_used_at == clock.now()


async def test_an_unreachable_database_stops_nothing(watched: Watched, clock: ManualClock) -> None:
    """The last snapshot goes on serving; it is said once; uses are kept for later."""
    key = watched.create_key(watched.create_workspace("Shop"))
    directory = LiveDirectory(watched, clock)
    with capture_logs() as logs:
        async with running(directory):
            watched.away = True
            found = directory.find_key(key)
            assert found is not None
            directory.note_use(found, clock.now())
            clock.advance(WRITE_BACK_SECONDS)
            await polled(watched, 3)
            assert directory.find_key(key) is found
            watched.away = False
            other = watched.create_key(found.workspace)
            await until(lambda: directory.find_key(other) is not None)
    assert [entry["log_level"] for entry in logs] == ["warning", "info"]
    assert watched.list_keys()[0].last_used_at is not None


async def test_what_nobody_has_thought_of_stops_nothing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in reading control data is told, and keys that were revoked are heard of after it."""
    key = watched.create_key(watched.create_workspace("Shop"))
    directory = LiveDirectory(watched, ManualClock())
    with capture_logs() as logs:
        async with running(directory):
            with monkeypatch.context() as broken:
                broken.setattr(watched, "revision", mock.Mock(side_effect=ValueError("a bug")))
                await until(lambda: "a bug" in (directory.trouble or ""))
            watched.revoke_key(key)
            await until(lambda: getattr(directory.find_key(key), "revoked_at", None) is not None)
    assert [entry["log_level"] for entry in logs] == ["error", "info"]
