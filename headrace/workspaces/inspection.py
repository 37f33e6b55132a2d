"""What is found at control data, for a person: kind, versions, how much, and what is wrong.

Owns a look that changes nothing: no file is made, nothing is migrated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import sqlalchemy as sa

from headrace.schemas.errors import HeadraceError
from headrace.workspaces.engine import is_postgresql, make_engine, place, reading
from headrace.workspaces.migrate import NEWEST, newer, version_of
from headrace.workspaces.tables import api_keys, workspaces

OLDEST_POSTGRESQL: Final = 13


class ControlReport(msgspec.Struct, frozen=True):
    """`problem` is a sentence; what could not be found out is None."""

    kind: str
    place: str
    server_version: str | None = None
    schema_version: str | None = None
    workspaces: int | None = None
    keys: int | None = None
    problem: str | None = None


def inspect_control(url: str) -> ControlReport:
    """Look at the control data at a URL. Blocks, for some seconds at most; raises `Unavailable`
    only for a URL that is none."""
    engine = make_engine(url)
    kind = "PostgreSQL" if is_postgresql(engine.url) else "SQLite"
    nothing = ControlReport(kind, place(engine.url))
    if _is_missing(engine.url):
        return msgspec.structs.replace(nothing, problem=_not_made(engine.url))
    try:
        return _look(engine, nothing)
    except HeadraceError as error:
        return msgspec.structs.replace(nothing, problem=str(error))
    finally:
        engine.dispose()


def _look(engine: sa.Engine, nothing: ControlReport) -> ControlReport:
    with reading(engine) as connection:
        version = version_of(connection)
        report = msgspec.structs.replace(
            nothing, server_version=_server_version(connection), schema_version=version
        )
        if version is not None:
            report = msgspec.structs.replace(
                report, workspaces=_count(connection, workspaces), keys=_count(connection, api_keys)
            )
        return msgspec.structs.replace(report, problem=_problem(connection, report))


def _problem(connection: sa.Connection, report: ControlReport) -> str | None:
    url = connection.engine.url
    if is_postgresql(url) and (trouble := _of_the_server(connection)):
        return trouble
    match report.schema_version:
        case None:
            return _not_made(url)
        case version if version > NEWEST:
            return str(newer(url, version))
        case version if version < NEWEST:
            return (
                f"control data at {report.place} is of version {version}, this Headrace works with "
                f"{NEWEST}. Run `headrace migrate`."
            )
    return None


def _of_the_server(connection: sa.Connection) -> str | None:
    version = int((connection.dialect.server_version_info or (0,))[0])
    if version < OLDEST_POSTGRESQL:
        return f"PostgreSQL {version} is too old: use {OLDEST_POSTGRESQL} or newer."
    if connection.execute(sa.text("SELECT pg_is_in_recovery()")).scalar_one():
        return (
            f"{place(connection.engine.url)} is a read-only copy: name the primary in "
            "HEADRACE_DATABASE."
        )
    return None


def _server_version(connection: sa.Connection) -> str:
    statement = (
        "SHOW server_version" if is_postgresql(connection.engine.url) else "SELECT sqlite_version()"
    )
    return str(connection.execute(sa.text(statement)).scalar_one())


def _count(connection: sa.Connection, table: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def _is_missing(url: sa.URL) -> bool:
    return not is_postgresql(url) and url.database is not None and not Path(url.database).exists()


def _not_made(url: sa.URL) -> str:
    return f"there is no control data at {place(url)} yet. `headrace migrate` makes it."
