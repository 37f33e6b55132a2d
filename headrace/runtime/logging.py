"""Where log lines go and how they look: the console and `HOME/logs/headrace.log`.

Owns formats, levels, rotation and the removal of secrets. Every process of a node writes to
both by itself; the file is rotated by whoever finds it too large, under a lock, and the others
notice that it was replaced. ERROR: data lost or a person needed. WARNING: odd, nothing lost.
INFO: life cycle.
"""

from __future__ import annotations

import fcntl
import logging
import logging.handlers
import re
import sys
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import structlog
from structlog.dev import Column, ConsoleRenderer, KeyValueColumnFormatter, plain_traceback

MAX_FILE_BYTES: Final = 10 * 1024 * 1024
KEPT_FILES: Final = 5

_SECRET_NAMES: Final = frozenset(
    {"api_key", "authorization", "key", "password", "secret", "token", "x_clickhouse_key"}
)
_API_KEY: Final = re.compile(r"\bhrk_[0-9A-Za-z]{6,}")
# What they say below this is about themselves; what matters of it our own adapters say.
_CHATTY: Final = {
    "aiokafka": logging.CRITICAL,
    "alembic": logging.WARNING,
    "clickhouse_connect": logging.CRITICAL,
    "httpx2": logging.WARNING,
    "opentelemetry": logging.CRITICAL,
    "uvicorn": logging.WARNING,
    "urllib3.connectionpool": logging.ERROR,  # clickhouse-connect sets the level of urllib3
}

Entry = MutableMapping[str, Any]


def configure_logging(process: str, *, level: str, form: str, file: Path | None) -> None:
    """Set up this process's log lines: `form` is `console` or `json`, `file` the rotated one."""

    def name_process(_logger: object, _method: str, entry: Entry) -> Entry:
        entry["process"] = process
        return entry

    steps: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.stdlib.ExtraAdder(),
        name_process,
        hide_secrets,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *steps,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(_formatter(steps, form, colors=sys.stderr.isatty()))
    handlers: list[logging.Handler] = [console]
    if file is not None:
        rotated = SharedFileHandler(file)
        rotated.setFormatter(_formatter(steps, form, colors=False))
        handlers.append(rotated)
    logging.basicConfig(handlers=handlers, level=level.upper(), force=True)
    logging.captureWarnings(capture=True)
    quiet_drivers()
    sys.excepthook = _log_the_end


def quiet_drivers() -> None:
    """Keep libraries from telling what our adapters tell; commands need this alone."""
    for name, lowest in _CHATTY.items():
        logging.getLogger(name).setLevel(lowest)


def hide_secrets(_logger: object, _method: str, entry: Entry) -> Entry:
    """A step that removes what is called a password, a key or the like."""
    for name, value in list(entry.items()):
        if name.lower() in _SECRET_NAMES and value:
            entry[name] = "(hidden)"
    return entry


class SharedFileHandler(logging.handlers.WatchedFileHandler):
    """A rotated file that several processes write: whole lines, appended."""

    def __init__(
        self, path: Path, *, max_bytes: int = MAX_FILE_BYTES, kept: int = KEPT_FILES
    ) -> None:
        super().__init__(path, delay=True, encoding="utf-8")
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._is_full():
                self._rotate()
            super().emit(record)
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """A full disk must not stop anybody: the console has the line."""

    def _is_full(self) -> bool:
        try:
            return self._path.stat().st_size >= self._max_bytes
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._is_full():
                return  # another process was faster
            for number in range(self._kept - 1, 0, -1):
                older = self._numbered(number)
                if older.exists():
                    older.replace(self._numbered(number + 1))
            self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class _Formatter(structlog.stdlib.ProcessorFormatter):
    def format(self, record: logging.LogRecord) -> str:
        """The line, without API keys, wherever in a text or a traceback they were."""
        return _API_KEY.sub("hrk_(hidden)", super().format(record))


def _formatter(steps: list[structlog.typing.Processor], form: str, *, colors: bool) -> _Formatter:
    last: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if form == "json"
        else [_console_renderer(colors=colors)]
    )
    return _Formatter(
        foreign_pre_chain=steps,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )


def _console_renderer(*, colors: bool) -> ConsoleRenderer:
    dim, bold, cyan, off = ("\x1b[2m", "\x1b[1m", "\x1b[36m", "\x1b[0m") if colors else ("",) * 4

    def column(style: str, width: int = 0) -> KeyValueColumnFormatter:
        return KeyValueColumnFormatter(
            key_style=None, value_style=style, reset_style=off, value_repr=str, width=width
        )

    rest = KeyValueColumnFormatter(
        key_style=cyan, value_style="", reset_style=off, value_repr=_quoted_if_needed
    )
    return ConsoleRenderer(
        columns=[
            Column("timestamp", column(dim)),
            Column("level", column("", 7)),
            Column("process", column(cyan, 9)),
            Column("event", column(bold)),
            Column("", rest),
        ],
        exception_formatter=plain_traceback,
    )


def _quoted_if_needed(value: object) -> str:
    text = str(value)
    return text if text and " " not in text and "\n" not in text else repr(text)


def _log_the_end(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("headrace").critical("ended by an error", exc_info=(kind, error, trace))
