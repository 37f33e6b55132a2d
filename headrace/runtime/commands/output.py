"""How commands print: tables for people, JSON for programs, sentences on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

_WIDTH_OF_FILES: Final = 10_000
_SPELLED: Final = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code != ord("\n")
}

JsonOption = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; numbers to the right, moments in UTC, nothing for None."""
    rows = [list(row) for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numbers = any(isinstance(row[index], int) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(value)) for value in row))
    console().print(table)


def console() -> Console:
    """Standard output for tables: as wide as the terminal, or as they need in a file."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)


def print_json(value: Any) -> None:
    """One JSON document."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def say(text: str) -> None:
    """A sentence that must not get into what a program reads."""
    sys.stderr.write(f"{text}\n")


def mebibytes(count: int) -> str:
    """A size for people."""
    return f"{count / 1024**2:,.1f} MiB"


@contextmanager
def watched(done: str) -> Iterator[Callable[[int], None]]:
    """A line at a terminal that says how many bytes are `done`; tell it those that are more."""
    to = Console(stderr=True)
    columns = (SpinnerColumn(), DownloadColumn(), TextColumn(done), TransferSpeedColumn())
    with Progress(*columns, console=to, disable=not to.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda more: bar.advance(task, more)


def printable(text: str) -> str:
    """Text from outside, safe for a terminal: control characters are spelled, not obeyed."""
    return text.translate(_SPELLED)


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case _:
            return printable(str(value))
