"""Workspaces and API keys of one machine's control data, copied into PostgreSQL.

    python deploy/move_control_data.py .headrace/control.sqlite postgresql://user:password@host/database

Apps keep their keys, and events keep the workspace they belong to. Store users are left behind: on
a ClickHouse server analysts are made anew. Run it before `headrace migrate`, which otherwise makes
a workspace `default` of its own. All or nothing; the source is only read.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from headrace.schemas.errors import HeadraceError
from headrace.workspaces.database import ControlData
from headrace.workspaces.engine import make_engine, place, reading, writing
from headrace.workspaces.tables import api_keys, revision, workspaces


class NotEmpty(HeadraceError):
    """The target has workspaces already."""


def move(source: Path, target: str) -> tuple[int, int]:
    """Copy; how many workspaces and keys there were.

    Raises `NotEmpty`, having changed nothing, and what control data raises when it is out of reach.
    """
    with closing(ControlData.open(target)):  # makes its tables
        pass
    old, new = make_engine(f"sqlite:///{source.absolute()}"), make_engine(target)
    try:
        with reading(old) as here, writing(new) as there:
            if there.execute(sa.select(workspaces.c.id)).first():
                raise NotEmpty(f"{place(new.url)} has workspaces already; give an empty database")
            counts = _copy(here, there, workspaces), _copy(here, there, api_keys)
            there.execute(revision.update().values(value=revision.c.value + 1))
            return counts
    finally:
        old.dispose()
        new.dispose()


def main(arguments: list[str]) -> int:
    """0 when everything was copied."""
    if len(arguments) != 2 or not Path(arguments[0]).is_file():
        sys.stderr.write("usage: move_control_data.py HOME/control.sqlite postgresql://…\n")
        return 2
    try:
        found = move(Path(arguments[0]), arguments[1])
    except HeadraceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print(f"copied {found[0]} workspaces and {found[1]} keys")
    return 0


def _copy(source: sa.Connection, target: sa.Connection, table: sa.Table) -> int:
    rows = [dict(row) for row in source.execute(sa.select(table)).mappings()]
    if rows:
        target.execute(table.insert(), rows)
    return len(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
