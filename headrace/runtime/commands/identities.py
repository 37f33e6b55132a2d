"""`headrace identities show|unlink|link`: whose events an anonymous id's are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from headrace.runtime import reach
from headrace.runtime.commands.output import JsonOption, print_json, print_table, say
from headrace.runtime.options import HomeOption
from headrace.runtime.settings import Settings
from headrace.runtime.store_reader import StoreReader

app = App(name="identities", help="Who is whom: show, unlink, link.")

WorkspaceOption = Annotated[str, Parameter(help="The workspace's name or id.")]


class Link(msgspec.Struct, frozen=True):
    """A link that counts."""

    anonymous_id: str
    user_id: str
    linked_at: str
    source_event_id: str


@app.command
def show(
    id: Annotated[str, Parameter(help="An anonymous id or a user id.")],  # noqa: A002 - the argument's name
    /,
    *,
    workspace: WorkspaceOption,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show the links of an anonymous id, or all of a user."""
    settings, workspace_id = _settings(home, workspace)
    with StoreReader(reach.operator_login(settings)) as store:
        found = store.rows(
            """
            SELECT anonymous_id, user_id, toString(linked_at) AS linked_at, source_event_id
            FROM identity_links
            WHERE workspace_id = {workspace_id:String}
                AND (anonymous_id = {id:String} OR user_id = {id:String})
            ORDER BY linked_at LIMIT 1000
            """,
            Link,
            workspace_id=workspace_id,
            id=id,
        )
    if json:
        print_json(found)
    elif found:
        columns = ("anonymous id", "user id", "linked at", "by event")
        print_table(columns, [msgspec.structs.astuple(link) for link in found])
    else:
        say(f"{id!r} has no links.")


@app.command
def unlink(
    *,
    workspace: WorkspaceOption,
    anonymous_id: str,
    user_id: str,
    home: HomeOption = None,
) -> None:
    """Let a link count no more, whatever events say, until `identities link`."""
    _decide(home, workspace, anonymous_id, user_id, excluded=True)
    say(f"{anonymous_id!r} is {user_id!r} no more; `headrace identities link` takes it back.")


@app.command
def link(
    *,
    workspace: WorkspaceOption,
    anonymous_id: str,
    user_id: str,
    home: HomeOption = None,
) -> None:
    """Take back an `unlink`: what events say counts again. It makes no link by itself."""
    _decide(home, workspace, anonymous_id, user_id, excluded=False)
    say(f"What events say of {anonymous_id!r} and {user_id!r} counts again.")


def _decide(
    home: Path | None, workspace: str, anonymous_id: str, user_id: str, *, excluded: bool
) -> None:
    # Not at the top: they bring clickhouse-connect along.
    from headrace.store.identities import link_again
    from headrace.store.identities import unlink as exclude

    settings, workspace_id = _settings(home, workspace)
    decide = exclude if excluded else link_again
    with reach.writing_to_store(settings) as (connection, database):
        decide(
            connection,
            workspace_id=workspace_id,
            anonymous_id=anonymous_id,
            user_id=user_id,
            database=database,
        )


def _settings(home: Path | None, workspace: str) -> tuple[Settings, str]:
    """The settings, and the workspace's id."""
    settings = reach.settings_for(home)
    with reach.open_control(settings) as control:
        return settings, control.find_workspace(workspace).id
