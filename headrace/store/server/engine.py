"""chDB in this process: opening its folder, connections with settings, killing what runs.

Every request gets a connection of its own (0.5 ms), so that nothing one query sets is there for
the next. A connection runs one statement at a time and its calls block: whoever uses this does
so in a thread. The wall, slots and HTTP are elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import msgspec
from chdb import _chdb as _typed_chdb

from headrace.schemas.errors import HeadraceError
from headrace.store.server.answers import Refusal, Summary
from headrace.store.server.limits import StoreLimits

_chdb: Final[Any] = _typed_chdb  # its stub leaves out what is used here
_SETTING_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
PARSER: Final = "implicit_select=0"
"""Settings every connection has from the start. chDB, unlike a server, reads `1 + 1` as SELECT."""
_SETTINGS_CLAUSE: Final = re.compile(r"\bSETTINGS\b[^()]*$", re.IGNORECASE)
_UNKNOWN_DATABASE: Final = 81
KEEP_FREE_BYTES: Final = 64 * 1024 * 1024
OLD_PARTS_SECONDS: Final = 60
"""A merge whose disk fills up under it leaves an active part of empty files, and no error (tried:
chDB 26.9). So merges and inserts are refused while less is free than a merge in progress may still
need, and the parts that were merged stay for a while (chDB deletes them at once, a server after
480 s): the next start finds the empty part broken and takes them again."""
_VERSION_FILE: Final = "headrace_engine_version"
_LOCK_FILE: Final = "headrace_lock"


class CannotOpen(HeadraceError):
    """The data folder cannot be used; the message says why and what to do."""


class Result:
    """A finished statement: its bytes and its summary."""

    def __init__(self, result: Any, seconds: float) -> None:
        self.data: bytes = result.bytes()
        self.summary = Summary(
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            result_rows=result.rows_read(),
            result_bytes=len(self.data),
            elapsed_seconds=seconds,
        )


class Insert:
    """An insert that is being fed; `done` or `cancel` ends it.

    chDB's streaming insert (`send_insert`) loses every error that is not one of parsing the
    format: `insert_done` answers well and nothing is stored (tried: a bad value for a column
    that is computed, a constraint, too many partitions). So the data is collected in memory
    that has a path, and read from there by one statement.
    """

    def __init__(self, connection: Any, statement: str, data_format: str) -> None:
        self._connection = connection
        self._data = _file_without_name()
        target, settings = _apart(statement)
        path = f"/proc/self/fd/{self._data.fileno()}"
        if not Path(path).exists():
            path = f"/dev/fd/{self._data.fileno()}"
        self._sql = f"{target} FROM INFILE '{path}' {settings} FORMAT {data_format}"

    def append(self, data: bytes) -> None:
        self._data.write(data)

    def done(self) -> Summary:
        begun = time.perf_counter()
        self._data.flush()
        with _refusals(), self._data:
            result = self._connection.query(self._sql, "TabSeparated")
        return Result(result, time.perf_counter() - begun).summary

    def cancel(self) -> None:
        """Nothing is stored; allowed after an error, and then it does nothing more."""
        self._data.close()


def _file_without_name() -> BinaryIO:
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("insert"), "wb")  # noqa: PTH123 - the insert closes it
    return tempfile.TemporaryFile()


def _apart(statement: str) -> tuple[str, str]:
    """`INSERT INTO t (a)` and its `SETTINGS …`, which the engine wants after FROM INFILE."""
    settings = _SETTINGS_CLAUSE.search(statement)
    if settings is None:
        return statement, ""
    return statement[: settings.start()], settings[0]


class Handle:
    """A connection with its settings made, for one request and one thread at a time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def apply(self, settings: Mapping[str, str]) -> None:
        """`SET` them all; raises `Refusal` 115 for a name the engine does not know."""
        if settings:
            self.query("SET " + ", ".join(_assignment(*item) for item in settings.items()))

    def use(self, database: str, *, or_default: bool = False) -> None:
        """Make it the current database; without it raises `Refusal` 81, or stays in `default`."""
        try:
            self.query("USE " + quoted_name(database))
        except Refusal as refusal:
            if not or_default or refusal.code != _UNKNOWN_DATABASE:
                raise

    def query(
        self, sql: str, output_format: str = "TabSeparated", parameters: Mapping[str, str] = {}
    ) -> Result:
        begun = time.perf_counter()
        with _refusals():
            result = self._connection.query(sql, output_format, params=dict(parameters))
        return Result(result, time.perf_counter() - begun)

    def stream(
        self, sql: str, output_format: str, parameters: Mapping[str, str]
    ) -> Iterator[Result]:
        """The result block by block; closing the iterator ends the query."""
        begun = time.perf_counter()
        with _refusals():
            stream = self._connection.send_query(sql, output_format, params=dict(parameters))
        try:
            while True:
                with _refusals():
                    block = self._connection.streaming_fetch_result(stream)
                result = Result(block, time.perf_counter() - begun)
                if not result.data:
                    return
                yield result
        finally:
            with contextlib.suppress(Exception):
                self._connection.streaming_cancel_query(stream)

    def insert(self, statement: str, data_format: str) -> Insert:
        return Insert(self._connection, statement, data_format)

    def close(self) -> None:
        self._connection.close()


class Names(msgspec.Struct, frozen=True):
    """What the engine knows: its settings, and its functions in lower case."""

    settings: frozenset[str]
    functions: frozenset[str]


class Engine:
    """The open data folder. One process at a time may have it."""

    def __init__(self, path: Path, limits: StoreLimits) -> None:
        """Opens or makes the folder; raises `CannotOpen`."""
        self.folder = path
        self._lock_file = _lock(path)
        self._root = _open_root(path, limits)
        self._root_lock = threading.Lock()
        self._remembered: dict[str, tuple[float, list[str]]] = {}
        try:
            self.version, self.timezone = self._ask_root("SELECT version(), timezone()").split("\t")
            _check_version(path, self.version)
            self.names = Names(
                frozenset(self._ask_root("SELECT name FROM system.settings").split()),
                frozenset(self._ask_root("SELECT lower(name) FROM system.functions").split()),
            )
        except BaseException:
            self.close()
            raise
        _chdb.reset_signal_handlers()  # SIGTERM and SIGINT are the server's to handle

    @contextlib.contextmanager
    def connect(self) -> Iterator[Handle]:
        """A fresh connection, closed at the end."""
        with _refusals():
            handle = Handle(_chdb.connect(f"{self.folder}?{PARSER}"))
        try:
            yield handle
        finally:
            handle.close()

    def kill(self, tag: str) -> None:
        """End the statements whose setting `log_comment` is `tag`; does not wait for it."""
        literal = quoted_text(tag)
        with contextlib.suppress(Refusal):
            self._ask_root(f"KILL QUERY WHERE Settings['log_comment'] = {literal} ASYNC")

    def order(self, sql: str) -> None:
        """Run a statement of the server's own."""
        self._ask_root(sql)

    def remembered(self, sql: str, age_seconds: float) -> list[str]:
        """The lines of a question's answer, asked anew when the last one is older than that."""
        known = self._remembered.get(sql)
        now = time.monotonic()
        if known is None or now - known[0] > age_seconds:
            known = self._remembered[sql] = (now, self._ask_root(sql).splitlines())
        return known[1]

    def close(self) -> None:
        with self._root_lock:
            self._root.close()
        self._lock_file.close()

    def _ask_root(self, sql: str) -> str:
        with self._root_lock:
            return Handle(self._root).query(sql).data.decode().strip()


def quoted_text(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quoted_name(name: str) -> str:
    """An identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _assignment(name: str, value: str) -> str:
    if not _SETTING_NAME.fullmatch(name):
        raise Refusal(115, "UNKNOWN_SETTING", f"Unknown setting '{name[:64]}'")
    return f"{name} = {quoted_text(value)}"


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # the one type chDB raises
        raise Refusal.of_engine(error) from error
    except UnicodeDecodeError as error:  # its text quotes bytes that are no UTF-8
        text = bytes(error.object).decode("utf-8", "backslashreplace")
        raise Refusal.of_engine(RuntimeError(text)) from error


def _open_root(path: Path, limits: StoreLimits) -> Any:
    # The engine reads its server settings from a file only, once, when the folder is opened.
    with tempfile.NamedTemporaryFile("w", suffix=".xml") as config:
        config.write(
            "<clickhouse>"
            f"<max_server_memory_usage>{limits.server_bytes}</max_server_memory_usage>"
            "<mark_cache_size>134217728</mark_cache_size>"
            "<storage_configuration><disks><default>"
            f"<keep_free_space_bytes>{KEEP_FREE_BYTES}</keep_free_space_bytes>"
            "</default></disks></storage_configuration>"
            f"<merge_tree><old_parts_lifetime>{OLD_PARTS_SECONDS}</old_parts_lifetime></merge_tree>"
            "</clickhouse>"
        )
        config.flush()
        try:
            return _chdb.connect(f"{path}?{PARSER}&config-file={config.name}")
        except RuntimeError as error:
            raise CannotOpen(
                f"the store's folder {path} cannot be opened: {str(error)[:500]}"
            ) from error


def _lock(path: Path) -> IO[str]:
    """The engine has a lock of its own, but does not say that it is what failed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / _LOCK_FILE).open("w")
    except OSError as error:
        raise CannotOpen(f"the store's folder {path} cannot be used: {error}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise CannotOpen(
            f"another process has the store's folder {path} open;"
            " stop it, or choose another HEADRACE_HOME"
        ) from error
    return file


def _check_version(path: Path, engine: str) -> None:
    file = path / _VERSION_FILE
    written = file.read_text().strip() if file.exists() else engine
    if _numbers(written) > _numbers(engine):
        raise CannotOpen(
            f"the store's folder {path} was written by engine {written}, this is {engine};"
            " install the newer version of headrace again, or choose another HEADRACE_HOME"
        )
    file.write_text(engine + "\n")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:4])
