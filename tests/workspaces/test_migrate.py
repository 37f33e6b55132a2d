"""How control data comes to the version this program knows."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql

from headrace.schemas.errors import Unavailable
from headrace.workspaces import migrate as migration
from headrace.workspaces.database import ControlData
from headrace.workspaces.engine import make_engine
from headrace.workspaces.errors import NewerDatabase
from headrace.workspaces.tables import metadata


def bring_to(connection: sa.Connection, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migration._FOLDER))
    config.attributes["connection"] = connection
    command.upgrade(config, version)


def set_version(url: str, version: str) -> None:
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{version}'"))
    engine.dispose()


POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]  # has no types


def test_the_newest_version_is_that_of_the_last_migration() -> None:
    """Whoever adds a migration raises `NEWEST`, or it would not be applied."""
    config = Config()
    config.set_main_option("script_location", str(migration._FOLDER))
    assert ScriptDirectory.from_config(config).get_current_head() == migration.NEWEST


def test_migrations_make_the_tables_that_the_program_uses(url: str) -> None:
    """From an empty file to `tables.py`, with types and constraints."""
    ControlData.open(url).close()
    engine = make_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_opening_again_changes_nothing_and_loads_no_alembic(url: str) -> None:
    """Most commands find the database as it should be, and start fast."""
    control = ControlData.open(url)
    control.create_workspace("Shop")
    control.close()
    program = (
        "import sys; from headrace.workspaces.database import ControlData;"
        "control = ControlData.open(sys.argv[1]);"
        "print([w.name for w in control.list_workspaces()], 'alembic' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, url], capture_output=True, text=True, check=True
    )
    assert run.stdout == "['Shop'] False\n"


def test_others_may_write_while_alembic_is_imported(tmp_path: Path) -> None:
    """It takes long on a busy machine, and nobody waits longer than five seconds for the file."""
    file = tmp_path / "control.sqlite"
    program = (
        "import sqlite3, sys; from headrace.workspaces.database import ControlData\n"
        "class Writer:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.startswith('alembic'):\n"
        "            other = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)\n"
        "            other.execute('BEGIN IMMEDIATE')\n"
        "            other.close()\n"
        "            print(name)\n"
        "sys.meta_path.insert(0, Writer())\n"
        "ControlData.open(f'sqlite:///{sys.argv[1]}').close()"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "alembic.command" in run.stdout.splitlines()


def test_a_newer_database_is_refused_and_left_alone(url: str) -> None:
    """The message says which versions these are and what to do."""
    ControlData.open(url).close()
    set_version(url, "9999")
    engine = make_engine(url)
    with pytest.raises(NewerDatabase) as raised:
        ControlData.open(url)
    assert "is of version 9999, this Headrace knows versions up to 0002" in str(raised.value)
    assert "Start the newer Headrace" in str(raised.value)
    assert migration.newer(engine.url, "9999").args == raised.value.args
    with engine.connect() as connection:
        assert migration.version_of(connection) == "9999"
    engine.dispose()


def test_an_older_database_is_brought_along_with_what_is_in_it(url: str) -> None:
    """From every version there was: what was in it is there afterwards."""
    engine = make_engine(url)
    with engine.begin() as connection:
        bring_to(connection, "0001")
        connection.execute(
            sa.text("INSERT INTO workspaces VALUES ('ws_1', 'Shop', 7, :no, :now)"),
            {"no": False, "now": datetime(2026, 1, 1)},  # noqa: DTZ001 - as SQLite keeps it
        )
    engine.dispose()
    control = ControlData.open(url)
    assert control.find_workspace("Shop").requests_per_minute == 7
    assert control.list_logs() == []
    control.close()


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    sqlite_url: str, tmp_path: Path
) -> None:
    """All of a migration or nothing: here a table is in its way."""
    file = tmp_path / "control.sqlite"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE store_users (x INTEGER)")
    database.close()
    with pytest.raises(Unavailable, match="store_users already exists"):
        ControlData.open(sqlite_url)
    with sqlite3.connect(file) as database:
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    database.close()
    assert names == [("store_users",)]


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)
def test_the_same_tables_can_be_made_in_postgresql(table: sa.Table) -> None:
    """One definition for both: moments keep their zone, digests are bytes."""
    made = str(sa.schema.CreateTable(table).compile(dialect=POSTGRESQL))
    assert ("TIMESTAMP WITH TIME ZONE" in made) == ("_at" in made)
    assert ("BYTEA" in made) == ("sha256" in made)
    assert "DATETIME" not in made
