"""`headrace query`: a statement's result as a table, a chart or bytes; without one, a prompt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from headrace.runtime import reach
from headrace.runtime.credentials import StoreLogin
from headrace.runtime.home import Home
from headrace.runtime.options import NOT_NEGATIVE, HomeOption
from headrace.runtime.querying.paging import pager_command
from headrace.runtime.querying.showing import Showing, show
from headrace.runtime.settings import read_pager
from headrace.runtime.store_reader import StoreReader
from headrace.schemas.errors import HeadraceError


def query(
    sql: Annotated[
        str | None,
        Parameter(
            help="One query; `-`: from standard input; none: a prompt.", allow_leading_hyphen=True
        ),
    ] = None,
    /,
    *,
    format: Annotated[  # noqa: A002 - the option's name
        str | None, Parameter(help="Any ClickHouse format, as bytes: CSV, JSONEachRow, Parquet …")
    ] = None,
    chart: Annotated[
        bool, Parameter(negative="", help="Draw up to 200 rows: a label or time, and a number.")
    ] = False,
    max_rows: Annotated[int, Parameter(help="Rows of the table.", validator=NOT_NEGATIVE)] = 1_000,
    pager: Annotated[
        bool, Parameter(help="On a terminal, long results go through $PAGER, else less.")
    ] = True,
    user: Annotated[str | None, Parameter(help="A user of the store.  [the operator]")] = None,
    password_file: Annotated[Path | None, Parameter(help="The user's password.")] = None,
    database: Annotated[str | None, Parameter(help="The database of plain table names.")] = None,
    url: Annotated[str | None, Parameter(help="The store.  [HOME's]")] = None,
    home: HomeOption = None,
) -> None:
    """Run a query as HOME's operator, or as another user, and print its result.

    Without a query, at a terminal, it asks for them: Tab completes tables and columns.
    """
    if format and chart:
        raise HeadraceError("--format and --chart were both given; give one of them")
    how = Showing(format, max_rows, chart, pager_command(read_pager()) if pager else ())
    if sql is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise HeadraceError("give a query, or `-` for standard input; a prompt needs a terminal")
    login = _login(home, url=url, user=user, password_file=password_file, database=database)
    if sql is None:
        from headrace.runtime.querying.prompt import Prompt  # a quarter of a second to import

        Prompt(login, how, Home(reach.settings_for(home).home).query_history).run()
        return
    with StoreReader(login) as store:
        show(store, sys.stdin.read() if sql == "-" else sql, how)


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
