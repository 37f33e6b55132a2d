"""The file of a backup: a tar archive whose last member says what must be in it.

Owns that a backup which is cut short, damaged or not ours is found out before anything of it is
used. Every file is listed with its size and SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Final

import msgspec

from headrace.schemas.errors import HeadraceError

_MANIFEST: Final = "backup.json"
_FORMAT: Final = 1
_STEP: Final = 1024 * 1024
_MANIFEST_BYTES: Final = 256 * 1024 * 1024

Progress = Callable[[int], None]
"""Told how many bytes more are done."""


class Filed(msgspec.Struct, frozen=True):
    """A file as it must come out again."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself."""

    format: int = _FORMAT
    version: str
    layout: int
    taken_at: datetime
    files: dict[str, Filed]


class BrokenBackup(HeadraceError):
    """The file is no backup, or not a whole one."""


class Writer:
    """Files go in one by one; `finish` makes it a backup."""

    def __init__(self, out: BinaryIO, progress: Progress) -> None:
        self._tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by `finish`
        self._progress = progress
        self.files: dict[str, Filed] = {}

    def add(self, name: str, path: Path) -> None:
        """A file that does not change any more."""
        with path.open("rb") as source:
            self._add(name, source, path.stat().st_size)

    def add_bytes(self, name: str, content: bytes) -> None:
        self._add(name, io.BytesIO(content), len(content))

    def finish(self, manifest: Manifest) -> None:
        content = msgspec.json.encode(manifest)
        self._tar.addfile(_member(_MANIFEST, len(content)), io.BytesIO(content))
        self._tar.close()

    def _add(self, name: str, source: IO[bytes], size: int) -> None:
        read = _Read(source, self._progress)
        self._tar.addfile(_member(name, size), read)
        self.files[name] = Filed(size, read.hash.hexdigest())


def extract(backup: BinaryIO, folder: Path, progress: Progress) -> Manifest:
    """Put every file into the folder and hold it against the manifest. Raises `BrokenBackup`."""
    found: dict[str, Filed] = {}
    try:
        with tarfile.open(fileobj=backup, mode="r|") as tar:
            for name, source, size in _members(tar):
                if name == _MANIFEST:
                    return _checked(_manifest(source, size), found)
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                found[name] = _copy(source, target, progress)
    except (tarfile.TarError, EOFError) as error:
        raise BrokenBackup(f"this is no backup, or not a whole one: {error}") from error
    raise BrokenBackup("this is not a whole backup: it was not finished, or cut short since")


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes], int]]:
    for member in tar:
        path = PurePosixPath(member.name)
        source = tar.extractfile(member) if member.isreg() else None
        if source is None or path.is_absolute() or ".." in path.parts:
            raise BrokenBackup(f"the backup holds {member.name!r}, which no backup of ours does")
        yield member.name, source, member.size


def _manifest(source: IO[bytes], size: int) -> Manifest:
    if size > _MANIFEST_BYTES:
        raise BrokenBackup(f"the backup's list of files has {size} bytes")
    try:
        found = msgspec.json.decode(source.read(), type=Manifest)
    except msgspec.DecodeError as error:
        raise BrokenBackup(f"the backup's list of files cannot be read: {error}") from error
    if found.format != _FORMAT:
        raise BrokenBackup(
            f"the backup has format {found.format} and this headrace reads {_FORMAT}; restore it "
            f"with headrace {found.version}"
        )
    return found


def _checked(manifest: Manifest, found: dict[str, Filed]) -> Manifest:
    for name in sorted(manifest.files.keys() | found.keys()):
        if manifest.files.get(name) != found.get(name):
            raise BrokenBackup(
                f"{name} is not as it was when the backup was taken; use another backup"
            )
    return manifest


def _copy(source: IO[bytes], target: Path, progress: Progress) -> Filed:
    read = _Read(source, progress)
    size = 0
    with target.open("xb") as out:
        while piece := read.read(_STEP):
            size += out.write(piece)
    return Filed(size, read.hash.hexdigest())


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o600
    return member


class _Read:
    """A file whose bytes are hashed and counted as they are read."""

    def __init__(self, source: IO[bytes], progress: Progress) -> None:
        self._source = source
        self._progress = progress
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._source.read(size)
        self.hash.update(piece)
        self._progress(len(piece))
        return piece
