"""How control data comes to the version this program knows."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql

from headrace.workspaces import migrate as migration
from headrace.workspaces.database import ControlData
from headrace.workspaces.errors import NewerDatabase
from headrace.workspaces.tables import metadata

POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]  # has no types


def test_the_newest_version_is_that_of_the_last_migration() -> None:
    """Whoever adds a migration raises `NEWEST`, or it would not be applied."""
    config = Config()
    config.set_main_option("script_location", str(migration._FOLDER))
    assert ScriptDirectory.from_config(config).get_current_head() == migration.NEWEST


def test_migrations_make_the_tables_that_the_program_uses(url: str) -> None:
    """From an empty file to `tables.py`, with types and constraints."""
    ControlData.open(url).close()
    engine = sa.create_engine(url)
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


def test_a_newer_database_is_refused_and_left_alone(url: str, tmp_path: Path) -> None:
    """The message says which versions these are and what to do."""
    ControlData.open(url).close()
    file = tmp_path / "control.sqlite"
    with sqlite3.connect(file) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.execute("ALTER TABLE workspaces ADD COLUMN colour TEXT")
    database.close()
    with pytest.raises(NewerDatabase) as raised:
        ControlData.open(url)
    assert "is of version 9999, this Headrace knows versions up to 0001" in str(raised.value)
    assert "Start the newer Headrace" in str(raised.value)
    with sqlite3.connect(file) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
    database.close()


def test_a_migration_that_fails_leaves_the_database_as_it_was(url: str, tmp_path: Path) -> None:
    """All of a migration or nothing: here a table is in its way."""
    file = tmp_path / "control.sqlite"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE store_users (x INTEGER)")
    database.close()
    with pytest.raises(Exception, match="store_users already exists"):
        ControlData.open(url)
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
