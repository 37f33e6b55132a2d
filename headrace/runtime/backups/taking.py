"""Taking a backup of HOME while its node runs.

Owns the order, which makes the copy one that a processor may go on from: how far it was settled,
then the tables, then the log, which forgets nothing meanwhile. So the copy's positions are never
ahead of its tables, nor those of its log: what was written in between lies in the tables beyond the
position, and is found there as after any crash.

Tables are frozen by the store (hard links of parts, which never change) and read from there;
SQLite's files are copied by SQLite. A store that does not run is read as it lies, and cannot be
started meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final
from uuid import uuid4

from headrace.eventlog.sqlite.hold import held
from headrace.eventlog.sqlite.inspect import inspect_log
from headrace.runtime import reach
from headrace.runtime.backups.archive import Manifest, Progress, Writer
from headrace.runtime.home import LAYOUT, Home, Lock, in_use, is_held
from headrace.runtime.settings import Settings
from headrace.runtime.version import headrace_version
from headrace.schemas.errors import HeadraceError
from headrace.store.text import quote_name

_LOCK: Final = "backup"
_FROZEN: Final = "headrace_backup_"
"""Letters and underscores: the store escapes others in the name of the folder."""
_PART_OF_TABLE: Final = "format_version.txt"
"""Lies in the folder of every table that has parts."""
_OF_THE_MOMENT: Final = frozenset({"shadow", "tmp", "status"})
_TABLES: Final = "SELECT database, name FROM system.tables WHERE engine LIKE '%MergeTree'"


def take_backup(
    settings: Settings, out: BinaryIO, room: Path, now: datetime, progress: Progress
) -> Manifest:
    """Write what HOME keeps; `room` is a folder for copies of the log on the way.

    Raises `HeadraceError`.
    """
    home = Home(settings.home)
    lock = Lock.take(home.process_lock(_LOCK), now)
    if lock is None:
        raise in_use(home, home.process_lock(_LOCK))
    try:
        with (
            held(home.log),
            TemporaryDirectory(prefix=".headrace-backup-", dir=room) as folder,
        ):
            return _Taking(settings, Writer(out, progress), Path(folder), now).run()
    except sqlite3.Error as error:
        raise HeadraceError(f"a file of {home.root} cannot be copied: {error}") from error
    finally:
        lock.release()


class _Taking:
    def __init__(self, settings: Settings, writer: Writer, folder: Path, now: datetime) -> None:
        self._settings = settings
        self._home = Home(settings.home)
        self._writer = writer
        self._folder = folder
        self._now = now

    def run(self) -> Manifest:
        home = self._home
        for path in (home.version, home.credentials, home.processor):
            if path.exists():
                self._writer.add(path.name, path)
        self._add_sqlite(home.control)
        positions = self._add_sqlite(home.positions)
        if self._settings.has_embedded_store and home.store.exists():
            self._add_store()
        log = self._add_sqlite(home.log)
        if log is not None and positions is not None:
            _demand_whole(log, positions)
        manifest = Manifest(
            version=headrace_version(),
            layout=LAYOUT,
            taken_at=self._now,
            files=self._writer.files,
        )
        self._writer.finish(manifest)
        return manifest

    def _add_sqlite(self, path: Path) -> Path | None:
        """A copy as of one moment, whoever writes meanwhile; None if there is no such file."""
        if not path.exists():
            return None
        copy = self._folder / path.name
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        self._writer.add(path.name, copy)
        return copy

    def _add_store(self) -> None:
        with self._frozen() as parts:
            described = sorted(_described(self._home.store))
            for path in described:
                self._writer.add_bytes(self._name(path, self._home.store), path.read_bytes())
            for path in sorted(set(_files(parts)).difference(described)):
                self._writer.add(self._name(path, parts), path)

    def _name(self, path: Path, root: Path) -> str:
        return f"{self._home.store.name}/{path.relative_to(root).as_posix()}"

    @contextmanager
    def _frozen(self) -> Iterator[Path]:
        """A folder whose parts, laid out as the store's, do not change."""
        shadow = self._home.store / "shadow"
        with contextlib.suppress(FileNotFoundError):
            for left in shadow.glob(f"{_FROZEN}*"):  # of a backup that was killed
                shutil.rmtree(left)
        if not is_held(self._home.process_lock("store")):
            with self._stopped():
                yield self._home.store
            return
        name = f"{_FROZEN}{uuid4().hex}"
        try:
            self._freeze(name)
            yield shadow / name
        finally:
            shutil.rmtree(shadow / name, ignore_errors=True)

    def _freeze(self, name: str) -> None:
        with reach.writing_to_store(self._settings) as (store, _):
            for database, table in store.rows(_TABLES):
                of = f"{quote_name(str(database))}.{quote_name(str(table))}"
                store.run(f"ALTER TABLE {of} FREEZE WITH NAME '{name}'")

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        lock = Lock.take(self._home.process_lock("store"), self._now)
        if lock is None:
            raise HeadraceError("the store was just started; take the backup again")
        try:
            yield
        finally:
            lock.release()


def _described(store: Path) -> Iterator[Path]:
    """The files that say which tables there are, and all but the parts of each."""
    for top in store.iterdir():
        if top.name in _OF_THE_MOMENT:
            continue
        if top.is_file():
            yield top
        elif top.is_dir() and not top.is_symlink():
            yield from _without_parts(top)


def _files(parts: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(parts):
        if folder == str(parts):
            folders[:] = [name for name in folders if name not in _OF_THE_MOMENT]
        yield from (path for name in names if not (path := Path(folder, name)).is_symlink())


def _without_parts(folder: Path) -> Iterator[Path]:
    is_table = (folder / _PART_OF_TABLE).exists()
    for path in folder.iterdir():
        if path.is_symlink():
            continue
        if path.is_file():
            yield path
        elif not is_table:
            yield from _without_parts(path)


def _demand_whole(log: Path, positions: Path) -> None:
    """The copies fit together unless the log was about to forget something as we came."""
    state = inspect_log(log, positions)
    if state is not None and state.settled is not None and state.settled < state.earliest:
        raise HeadraceError(
            "the log forgot records while it was copied, because its disk was full or it was just "
            "about to; take the backup again"
        )
