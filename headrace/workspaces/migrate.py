"""Brings control data to the version this program knows, in one transaction, at every open.

Owns when migrations run and what is refused; the migrations themselves are in `migrations/`.
Alembic is imported only when there is something to do: most commands find nothing.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from headrace.schemas.errors import Unavailable
from headrace.workspaces.engine import is_postgresql, place, reading, writing
from headrace.workspaces.errors import NewerDatabase

if TYPE_CHECKING:
    from alembic.config import Config

NEWEST: Final = "0002"
"""The version of the last file in `migrations/versions/`."""
_FOLDER: Final = Path(__file__).parent / "migrations"
_ALEMBIC: Final = threading.Lock()
"""Alembic keeps what it works on in module globals."""
_TURN_SECONDS: Final = 60.0
_TURN: Final = sa.text("SELECT pg_try_advisory_xact_lock(4814820260101)")


def migrate(engine: sa.Engine) -> None:
    """Bring the database to `NEWEST`; raises `NewerDatabase` if it is past that.

    Safe when several processes do it at once: one works, the others wait and find it done.
    """
    with reading(engine) as connection:
        if version_of(connection) == NEWEST:
            return
    # Before the transaction: the import takes a second or more, and on SQLite whoever wants to
    # write meanwhile gives up after five.
    config = _configured()
    with _ALEMBIC, writing(engine) as connection:
        if is_postgresql(engine.url):
            _take_turn(connection)
        if version_of(connection) != NEWEST:
            _upgrade(connection, config)


def _take_turn(connection: sa.Connection) -> None:
    # Asked again and again: a statement that waits for the lock would run into its time limit.
    deadline = time.monotonic() + _TURN_SECONDS
    while not connection.execute(_TURN).scalar_one():
        if time.monotonic() > deadline:
            raise Unavailable(
                f"another process has been migrating {place(connection.engine.url)} for "
                f"{_TURN_SECONDS:g} s. See in its pg_stat_activity what holds it up."
            )
        time.sleep(0.05)


def version_of(connection: sa.Connection) -> str | None:
    """The version that control data is of; None before its first migration."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _configured() -> Config:
    """Alembic, imported whole, which knows where the migrations are."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config


def _upgrade(connection: sa.Connection, config: Config) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory

    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    version = version_of(connection)
    if version is not None and version not in known:
        raise newer(connection.engine.url, version)
    command.upgrade(config, "head")


def newer(url: sa.URL, version: str) -> NewerDatabase:
    """The sentence for control data that a newer Headrace wrote."""
    setting = "HEADRACE_DATABASE" if is_postgresql(url) else "HEADRACE_HOME"
    return NewerDatabase(
        f"control data at {place(url)} is of version {version}, this Headrace knows versions up "
        f"to {NEWEST}. Start the newer Headrace that wrote it, or use another {setting}."
    )
