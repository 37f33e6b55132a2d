"""Links that a person decides about: a pair is excluded until it is taken back.

Owns the table `identity_exclusions_rows`, in which the last word on a pair counts. Events keep
saying what they say; an excluded pair does not count when they are read.
"""

from __future__ import annotations

from headrace.store.connection import Connection
from headrace.store.text import quote, quote_name


def unlink(
    connection: Connection,
    *,
    workspace_id: str,
    anonymous_id: str,
    user_id: str,
    database: str = "headrace",
) -> None:
    """From now on this link does not count; in force when it returns."""
    _decide(connection, database, (workspace_id, anonymous_id, user_id), excluded=True)


def link_again(
    connection: Connection,
    *,
    workspace_id: str,
    anonymous_id: str,
    user_id: str,
    database: str = "headrace",
) -> None:
    """Take an `unlink` back. It makes no link that no event has made."""
    _decide(connection, database, (workspace_id, anonymous_id, user_id), excluded=False)


def _decide(
    connection: Connection, database: str, pair: tuple[str, str, str], *, excluded: bool
) -> None:
    values = ", ".join(map(quote, pair))
    connection.run(
        f"INSERT INTO {quote_name(database)}.identity_exclusions_rows "
        f"(workspace_id, anonymous_id, user_id, excluded) SELECT {values}, {excluded}"
    )
    connection.run(f"SYSTEM RELOAD DICTIONARY {quote_name(database)}.identity_links_recent")
