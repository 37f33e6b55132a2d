"""Loss of power: the end of the WAL is cut off or garbled, and what is left is whole batches."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.eventlog.sqlite.file import CHECKPOINT_BYTES
from tests.eventlog.adapters import batch
from tests.eventlog.sqlite_files import appending, stored

BATCHES = 30
CONTENT = random.Random(30).randbytes(BATCHES * 3000)
"""No two batches are alike, and none can be packed."""


async def log_left_behind(folder: Path, target: Path) -> None:
    """A log as it lies on the disk while its writer runs, copied with its WAL.

    All of it is in the WAL: what was carried over into the file does not go by loss of power, and
    whoever copies while it is carried over has a part of it.
    """
    async with appending(folder, reserve_bytes=4 * CHECKPOINT_BYTES) as appender:
        for number in range(BATCHES):
            await appender.append(batch(*[b"%d" % number] * 5, content(number)))
        copy_log(folder, target)
    assert (target / "log.sqlite-wal").stat().st_size > len(CONTENT)


def content(number: int) -> bytes:
    return CONTENT[number * 3000 : (number + 1) * 3000]


def copy_log(folder: Path, target: Path) -> None:
    target.mkdir()
    for name in ("log.sqlite", "log.sqlite-wal"):
        shutil.copy(folder / name, target / name)


def cut(wal: Path, chance: random.Random) -> None:
    with wal.open("r+b") as file:
        file.truncate(chance.randrange(wal.stat().st_size))


def garble(wal: Path, chance: random.Random) -> None:
    at = chance.randrange(wal.stat().st_size)
    with wal.open("r+b") as file:
        file.seek(at)
        file.write(chance.randbytes(wal.stat().st_size - at))


def erase(wal: Path, chance: random.Random) -> None:
    at = chance.randrange(wal.stat().st_size)
    with wal.open("r+b") as file:
        file.seek(at)
        file.write(bytes(wal.stat().st_size - at))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("damage", [cut, garble, erase])
async def test_a_damaged_end_leaves_whole_batches_from_the_start(
    tmp_path: Path, damage: Callable[[Path, random.Random], None], seed: int
) -> None:
    """Whatever is wrong behind some byte of the WAL, the log opens and goes on before it."""
    folder = tmp_path / "after"
    await log_left_behind(tmp_path, folder)
    damage(folder / "log.sqlite-wal", random.Random(seed))
    async with appending(folder) as appender:
        await appender.append(batch(b"after"))
    found = [record.value for record in await stored(folder)]
    assert found.pop() == b"after"
    kept, odd = divmod(len(found), 6)
    assert not odd
    assert found == [
        value for number in range(kept) for value in [*[b"%d" % number] * 5, content(number)]
    ]


async def test_an_undamaged_wal_is_read_whole(tmp_path: Path) -> None:
    """The copy itself loses nothing: what the tests above miss, the damage took."""
    await log_left_behind(tmp_path, tmp_path / "after")
    assert len(await stored(tmp_path / "after")) == BATCHES * 6
