"""`headrace query`: a query's result as a table, or as the bytes of any ClickHouse format."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import httpx2
import msgspec
from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from headrace.runtime import reach
from headrace.runtime.commands.output import console, printable, say
from headrace.runtime.credentials import StoreLogin
from headrace.runtime.options import HomeOption
from headrace.runtime.store_reader import StoreReader, lines_of
from headrace.schemas.errors import HeadraceError

_TABLE_FORMAT: Final = "JSONCompactStringsEachRowWithNamesAndTypes"
_FORMAT_HEADER: Final = "X-ClickHouse-Format"
_NUMBERS: Final = ("Int", "UInt", "Float", "Decimal", "Nullable(Int", "Nullable(UInt")
_MAX_CELL_CHARACTERS: Final = 2_000


def query(
    sql: Annotated[
        str, Parameter(help="One query; `-`: from standard input.", allow_leading_hyphen=True)
    ],
    /,
    *,
    format: Annotated[  # noqa: A002 - the option's name
        str | None, Parameter(help="Any ClickHouse format, as bytes: CSV, JSONEachRow, Parquet …")
    ] = None,
    max_rows: Annotated[int, Parameter(help="Rows of the table.")] = 1_000,
    user: Annotated[str | None, Parameter(help="A user of the store.  [the operator]")] = None,
    password_file: Annotated[Path | None, Parameter(help="The user's password.")] = None,
    database: Annotated[str | None, Parameter(help="The database of plain table names.")] = None,
    url: Annotated[str | None, Parameter(help="The store.  [HOME's]")] = None,
    home: HomeOption = None,
) -> None:
    """Run a query as HOME's operator, or as another user, and print its result."""
    login = _login(home, url=url, user=user, password_file=password_file, database=database)
    text = sys.stdin.read() if sql == "-" else sql
    started = time.perf_counter()
    with StoreReader(login) as store, store.stream(text, format or _TABLE_FORMAT) as answer:
        if format or answer.headers.get(_FORMAT_HEADER, _TABLE_FORMAT) != _TABLE_FORMAT:
            _copy(answer)
        else:
            _print_rows(answer, max_rows, started)


def _login(
    home: Path | None,
    *,
    url: str | None,
    user: str | None,
    password_file: Path | None,
    database: str | None,
) -> StoreLogin:
    if (user is None) != (password_file is None):
        raise HeadraceError("--user and --password-file are needed together")
    if user is None or password_file is None:
        if url is not None and not reach.is_local(url):
            raise HeadraceError(f"say who you are at {url}: --user NAME --password-file FILE")
        operator = reach.operator_login(reach.settings_for(home))
        return msgspec.structs.replace(
            operator, url=url or operator.url, database=database or operator.database
        )
    where = url or reach.operator_login(reach.settings_for(home)).url
    return StoreLogin(where, database or "", user, reach.read_secret(password_file))


def _copy(answer: httpx2.Response) -> None:
    for chunk in answer.iter_bytes():
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _print_rows(answer: httpx2.Response, max_rows: int, started: float) -> None:
    lines = lines_of(answer)
    names = _next_row(lines)
    if names is None:  # a statement without a result
        say("Done.")
        return
    table = Table(header_style="bold", show_lines=False)
    for name, kind in zip(names, _next_row(lines) or [], strict=False):
        right = kind.startswith(_NUMBERS)
        table.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    shown = 0
    for line in islice(lines, max_rows):
        table.add_row(*(Text(_cell(value)) for value in msgspec.json.decode(line, type=list[str])))
        shown += 1
    more = sum(1 for _ in lines)
    console().print(table)
    seconds = time.perf_counter() - started
    if more:
        say(f"The first {shown:,} of {shown + more:,} rows; --max-rows or --format shows the rest.")
    say(f"{shown + more:,} row{'' if shown + more == 1 else 's'} in {seconds:.3f} s")


def _next_row(lines: Iterator[bytes]) -> list[str] | None:
    line = next(lines, None)
    return None if line is None else msgspec.json.decode(line, type=list[str])


def _cell(value: str) -> str:
    text = printable(value[:_MAX_CELL_CHARACTERS])
    return text if len(value) <= _MAX_CELL_CHARACTERS else f"{text}…"
