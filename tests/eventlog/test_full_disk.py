"""Disks that are full, fail or cannot be written: refused, nothing lost, recovered unaided."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from headrace.eventlog.sqlite.appender import SqliteAppender
from headrace.schemas.errors import HeadraceError, Overloaded
from tests.eventlog.adapters import append_when_possible, batch, until
from tests.eventlog.sqlite_files import appending, settle_everything, stored
from tests.services.missing import leave_out

MEBIBYTE = 1024 * 1024
CHUNK = batch(os.urandom(100_000))


class SmallDisk(Protocol):
    """A folder whose disk can be filled, by others than us, and emptied again."""

    folder: Path

    def fill(self) -> None: ...

    def make_room(self) -> None: ...


class MountedDisk:
    """A tmpfs of 8 MiB; writing to it when it is full is ENOSPC."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)

    def fill(self) -> None:
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))

    def make_room(self) -> None:
        self._filler.unlink()

    def remount(self, mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", self.folder], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", self.folder], check=True)


class LimitedFiles:
    """No file may grow any further; writing beyond is EFBIG, an I/O error to SQLite."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        largest = max(file.stat().st_size for file in self.folder.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

    def make_room(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


def mount(folder: Path) -> MountedDisk:
    try:
        return MountedDisk(folder)
    except (subprocess.CalledProcessError, FileNotFoundError):
        leave_out("a disk that can be filled", "run as a user who may mount a tmpfs")


async def append_until_refused(appender: SqliteAppender) -> int:
    """How many batches were acknowledged before one was not."""
    for acknowledged in range(1000):
        try:
            await appender.append(CHUNK)
        except HeadraceError:
            return acknowledged
    raise AssertionError("the disk took everything")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[MountedDisk]:
    disk = mount(tmp_path)
    yield disk
    disk.unmount()


@pytest.fixture(params=["mounted", "limited"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    if request.param == "mounted":
        yield request.getfixturevalue("mounted")
        return
    limited = LimitedFiles(tmp_path)
    yield limited
    limited.make_room()


async def test_a_full_disk_refuses_and_recovers_when_there_is_room(disk: SmallDisk) -> None:
    """While the disk is full appends are refused; with room the log goes on by itself."""
    async with appending(disk.folder) as appender:
        await appender.append(CHUNK)
        disk.fill()
        await append_until_refused(appender)
        with pytest.raises(Overloaded) as refusal:
            await appender.append(CHUNK)
        assert refusal.value.retry_after > 0
        assert not appender.is_writable()
        disk.make_room()
        await until(lambda: asyncio.to_thread(appender.is_writable))
        await append_when_possible(appender, batch(b"after"))
    assert (await stored(disk.folder))[-1].value == b"after"


async def test_everything_acknowledged_on_a_filling_disk_is_stored(mounted: MountedDisk) -> None:
    """The log that fills the disk itself keeps what it acknowledged, and nothing more."""
    async with appending(mounted.folder) as appender:
        acknowledged = await append_until_refused(appender)
    found = await stored(mounted.folder)
    assert [record.value for record in found] == [CHUNK.records[0].value] * acknowledged
    assert acknowledged > 10


async def test_retention_makes_room_on_a_full_disk(mounted: MountedDisk) -> None:
    """Settled records can be deleted from a log that filled its disk, and it goes on."""
    async with appending(mounted.folder) as appender:
        for _ in range(3):  # not only the first time
            await append_until_refused(appender)
            await settle_everything(mounted.folder)
            await append_when_possible(appender, batch(b"after"))
    assert (await stored(mounted.folder))[-1].value == b"after"


async def test_a_full_disk_is_no_reason_not_to_start(mounted: MountedDisk) -> None:
    """A log on a full disk opens, refuses appends, and takes them when there is room."""
    async with appending(mounted.folder) as appender:
        await appender.append(batch(b"before"))
        log_id = appender.log_id
    mounted.fill()
    async with appending(mounted.folder) as appender:
        assert appender.log_id == log_id
        mounted.fill()  # what opening gave up is taken, too
        await append_until_refused(appender)
        mounted.make_room()
        await append_when_possible(appender, batch(b"after"))
    found = await stored(mounted.folder)
    assert (found[0].value, found[-1].value) == (b"before", b"after")


async def test_a_read_only_disk_is_no_reason_not_to_start(mounted: MountedDisk) -> None:
    """On a read-only disk the log refuses appends; it recovers when it can be written."""
    async with appending(mounted.folder) as appender:
        await appender.append(batch(b"before"))
        log_id = appender.log_id
    mounted.remount("ro")
    async with appending(mounted.folder) as appender:
        assert appender.log_id == log_id
        assert not appender.is_writable()
        with pytest.raises(Overloaded):
            await appender.append(batch(b"refused"))
        mounted.remount("rw")
        await append_when_possible(appender, batch(b"after"))
    assert [r.value for r in await stored(mounted.folder)] == [b"before", b"after"]


async def test_no_log_can_be_made_on_a_read_only_disk(mounted: MountedDisk) -> None:
    """Without a log there is nothing to serve; the message names the file and the cure."""
    mounted.remount("ro")
    with pytest.raises(Overloaded, match=r"log\.sqlite can neither be opened nor made"):
        async with appending(mounted.folder):
            pass
