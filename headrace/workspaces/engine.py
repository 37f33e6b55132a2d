"""How control data is reached: engines, transactions, and drivers' errors in our words.

Owns, with `postgresql.py`, everything that differs between SQLite and PostgreSQL at run time, so
that `database.py` need not know which one it talks to. psycopg is loaded where it is needed only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import event, exc

from headrace.schemas.errors import HeadraceError, Overloaded, Unavailable

BUSY_SECONDS: Final = 5
_WRITES: Final = "headrace_writes"
_SQLITE: Final = frozenset({"sqlite", "sqlite+pysqlite"})
_POSTGRESQL: Final = frozenset({"postgresql", "postgres", "postgresql+psycopg"})


def make_engine(url: str) -> sa.Engine:
    """An engine for `sqlite:////folder/control.sqlite` or `postgresql://user:password@host/db`.

    Nothing is connected to yet. Raises `Unavailable` for any other URL.
    """
    parsed = _parsed(url)
    if is_postgresql(parsed):
        from headrace.workspaces.postgresql import make_postgresql_engine

        return make_postgresql_engine(parsed)
    engine = sa.create_engine(parsed, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def is_postgresql(url: sa.URL) -> bool:
    """Whether control data is on a server, which may be away."""
    return url.drivername in _POSTGRESQL


def place(url: sa.URL) -> str:
    """Which database a URL means, without secrets: to show, and to tell one from another."""
    if is_postgresql(url):
        from headrace.workspaces import postgresql

        return postgresql.place(url)
    return url.render_as_string()


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that reads; raises `Unavailable` where the driver raises."""
    with _translated(engine), engine.begin() as connection:
        yield connection


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that writes: on SQLite it waits for its turn before it reads anything."""
    with _translated(engine), engine.execution_options(**{_WRITES: True}).begin() as connection:
        yield connection


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, also around DDL
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    _use_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _use_write_ahead_log(connection: Any) -> None:
    # SQLite does not wait by itself when several processes change a new file's mode at once:
    # 4 of 160 openers were told "locked" at once, whatever the busy_timeout.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except connection.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    # A deferred transaction that reads first cannot wait to write: it fails with "locked".
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _translated(engine: sa.Engine) -> Iterator[None]:
    try:
        yield
    except exc.IntegrityError:
        raise  # database.py knows what it tried to write
    except exc.DBAPIError as error:
        raise _in_our_words(engine.url, error.orig) from error
    except exc.TimeoutError as error:
        raise Unavailable(f"no connection to {place(engine.url)} came free") from error


def _in_our_words(url: sa.URL, error: BaseException | None) -> HeadraceError:
    if is_postgresql(url):
        from headrace.workspaces import postgresql

        return postgresql.in_our_words(url, error)
    return _of_sqlite(place(url), " ".join(str(error).split()))


def _of_sqlite(where: str, problem: str) -> HeadraceError:
    if "disk is full" in problem or "disk I/O" in problem:
        return Overloaded(f"control data at {where} cannot be written: {problem}. Make room.")
    if "not a database" in problem or "malformed" in problem:
        return Unavailable(
            f"control data at {where} is damaged: {problem}. Put back a copy of the file."
        )
    return Unavailable(
        f"control data at {where} cannot be used: {problem}. "
        "See that it is there and that this user may read and write it."
    )


def _parsed(url: str) -> sa.URL:
    # What SQLAlchemy says is not shown: a password with a `/` or `@` in it ends up there.
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        parsed = sa.URL.create("unreadable")
    if parsed.drivername in _SQLITE or is_postgresql(parsed):
        return parsed
    raise Unavailable(
        f"cannot use this URL for control data: its kind is {parsed.drivername!r}. Give one such "
        "as postgresql://user:password@host:5432/headrace (in user and password, %2F for /, %40 "
        "for @) or sqlite:////var/lib/headrace/control.sqlite."
    )
