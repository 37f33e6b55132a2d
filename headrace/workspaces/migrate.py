"""Brings control data to the version this program knows, in one transaction, at every open.

Owns when migrations run and what is refused; the migrations themselves are in `migrations/`.
Alembic is imported only when there is something to do: most commands find nothing.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from headrace.workspaces.engine import reading, writing
from headrace.workspaces.errors import NewerDatabase

NEWEST: Final = "0001"
"""The version of the last file in `migrations/versions/`."""
_FOLDER: Final = Path(__file__).parent / "migrations"
_ALEMBIC: Final = threading.Lock()
"""Alembic keeps what it works on in module globals."""


def migrate(engine: sa.Engine) -> None:
    """Bring the database to `NEWEST`; raises `NewerDatabase` if it is past that.

    Safe when several processes do it at once: one works, the others wait and find it done.
    """
    with reading(engine) as connection:
        if _version(connection) == NEWEST:
            return
    with _ALEMBIC, writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(4814820260101)"))
        if _version(connection) != NEWEST:
            _upgrade(connection)


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    version = _version(connection)
    if version is not None and version not in known:
        raise NewerDatabase(
            f"control data at {connection.engine.url.render_as_string(hide_password=True)} is of "
            f"version {version}, this Headrace knows versions up to {NEWEST}. "
            "Start the newer Headrace that wrote it, or use another HEADRACE_HOME."
        )
    command.upgrade(config, "head")
