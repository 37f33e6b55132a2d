"""One statement asked and its answer shown: a table, a chart, or the bytes of a format.

Owns what people see of an answer. Who asks is the caller's, the wire is `store_reader.py`'s.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import httpx2
import msgspec
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from headrace.runtime.commands.output import console, printable, say
from headrace.runtime.querying.charts import MOST_ROWS, CannotDraw, Column, check_count, draw
from headrace.runtime.querying.paging import Pages
from headrace.runtime.store_reader import QueryFailed, StoreReader, lines_of

_TABLE_FORMAT: Final = "JSONCompactStringsEachRowWithNamesAndTypes"
_FORMAT_HEADER: Final = "X-ClickHouse-Format"
_NULL: Final = "ᴺᵁᴸᴸ"
_MAX_CELL_CHARACTERS: Final = 2_000


class Showing(msgspec.Struct, frozen=True):
    """How answers are shown; `pager` is the program for long ones, nothing to use none."""

    format: str | None = None
    max_rows: int = 1_000
    chart: bool = False
    pager: tuple[str, ...] = ()


def show(store: StoreReader, sql: str, how: Showing) -> None:
    """Ask and print. Raises `QueryFailed` and `CannotDraw`."""
    started = time.perf_counter()
    with store.stream(sql, how.format or _TABLE_FORMAT) as answer:
        if how.format or answer.headers.get(_FORMAT_HEADER, _TABLE_FORMAT) != _TABLE_FORMAT:
            if how.chart:
                raise CannotDraw("a chart is drawn of a table's rows: leave out the FORMAT")
            _copy(answer, how)
            return
        lines = lines_of(answer)
        names = _next_row(lines)
        if names is None:  # a statement without a result
            say("Done.")
            return
        kinds = _next_row(lines) or []
        columns = [Column(*each) for each in zip(names, kinds, strict=False)]
        (_print_chart if how.chart else _print_table)(columns, lines, how, started)


def _copy(answer: httpx2.Response, how: Showing) -> None:
    with Pages(how.pager) as pages:
        for chunk in answer.iter_bytes():
            pages.write(chunk)


def _print_table(
    columns: Sequence[Column], lines: Iterator[bytes], how: Showing, started: float
) -> None:
    table = Table(header_style="bold", show_lines=False)
    for column in columns:
        justify: JustifyMethod = "right" if column.is_number else "left"
        table.add_column(Text(printable(column.name)), justify=justify, overflow="fold")
    shown = 0
    for line in islice(lines, how.max_rows):
        table.add_row(*(Text(_cell(value)) for value in _row(line)))
        shown += 1
    more = sum(1 for _ in lines)
    screen = console()
    with screen.capture() as captured:
        screen.print(table)
    _print(captured.get(), how)
    if more:
        say(f"The first {shown:,} of {shown + more:,} rows; --max-rows or --format shows the rest.")
    _say_end(shown + more, started)


def _print_chart(
    columns: Sequence[Column], lines: Iterator[bytes], how: Showing, started: float
) -> None:
    rows = [_row(line) for line in islice(lines, MOST_ROWS + 1)]
    check_count(len(rows))
    shown = [Column(printable(each.name), printable(each.kind)) for each in columns]
    cells = [[None if value == _NULL else _label(value) for value in row] for row in rows]
    width = console().width if sys.stdout.isatty() else 80
    _print("".join(f"{line}\n" for line in draw(shown, cells, width)), how)
    _say_end(len(rows), started)


def _print(text: str, how: Showing) -> None:
    if how.pager:
        with Pages(how.pager) as pages:
            pages.write(text.encode(sys.stdout.encoding, errors="replace"))
    else:
        sys.stdout.write(text)


def _say_end(rows: int, started: float) -> None:
    seconds = time.perf_counter() - started
    say(f"{rows:,} row{'' if rows == 1 else 's'} in {seconds:.3f} s")


def _next_row(lines: Iterator[bytes]) -> list[str] | None:
    line = next(lines, None)
    return None if line is None else _row(line)


def _row(line: bytes) -> list[str]:
    try:
        return msgspec.json.decode(line, type=list[str])
    except msgspec.DecodeError as error:  # a server that fails on its way says so in its answer
        said = printable(line.decode(errors="replace"))
        raise QueryFailed(f"the answer broke off: {said}") from error


def _label(value: str) -> str:
    return printable(value).replace("\n", " ")


def _cell(value: str) -> str:
    text = printable(value[:_MAX_CELL_CHARACTERS])
    return text if len(value) <= _MAX_CELL_CHARACTERS else f"{text}…"
