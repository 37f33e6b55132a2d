"""`headrace analysts create|list|drop`: people who query one workspace."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain, count
from typing import Annotated

from cyclopts import App, Parameter

from headrace.runtime import reach
from headrace.runtime.commands.output import JsonOption, print_json, print_table, say
from headrace.runtime.options import HomeOption
from headrace.schemas.errors import HeadraceError, Overloaded, Unavailable
from headrace.workspaces.port import Role, StoreUser, Workspace

app = App(name="analysts", help="Users of the store who read one workspace, and cannot write.")


@app.command
def create(
    *,
    workspace: Annotated[str, Parameter(help="The workspace's name or id.")],
    name: Annotated[str | None, Parameter(help="The user's name.  [analyst_…]")] = None,
    home: HomeOption = None,
) -> None:
    """Create an analyst and print how it logs in, as JSON: the only time the password is seen."""
    # Not at the top: it brings clickhouse-connect along.
    from headrace.runtime.analyst_databases import (
        CannotManageUsers,
        NameTaken,
        ensure_analyst_databases,
        ensure_analyst_users,
    )
    from headrace.runtime.logging import quiet_drivers

    quiet_drivers()
    settings = reach.settings_for(home)
    processor = reach.processor_login(settings)
    with reach.open_control(settings) as control:
        owner = control.find_workspace(workspace)
        name = name or _free_name(owner, control.list_store_users())
        made = control.create_store_user(Role.ANALYST, workspace=owner, name=name)
        mine = [user for user in control.list_store_users() if user.name == made.user]
        try:
            reach.demand_store(settings)
            if settings.has_embedded_store:
                ensure_analyst_databases(processor, mine)
            else:
                ensure_analyst_users(processor, mine, settings.clickhouse_cluster)
        except (CannotManageUsers, NameTaken):
            control.drop_store_user(made.user)
            raise
        except (Unavailable, Overloaded, reach.NoNode):
            say("The store cannot be reached; the analyst's views are made when the node starts.")
    say(f"Analyst {made.user} reads workspace {owner.name}. The password is not shown again.")
    print_json(
        {
            "url": processor.url,
            "database": made.database,
            "user": made.user,
            "password": made.password,
        }
    )


def _free_name(workspace: Workspace, users: Collection[StoreUser]) -> str:
    """`analyst_…` after the workspace's id, numbered from the second one on."""
    taken = {user.name for user in users}
    first = f"analyst_{workspace.id.removeprefix('ws_')}"
    return next(
        name
        for name in chain([first], (f"{first}_{number}" for number in count(2)))
        if name not in taken
    )


@app.command
def drop(
    name: Annotated[str, Parameter(help="The user's name.")],
    /,
    *,
    home: HomeOption = None,
) -> None:
    """Let an analyst log in no more. What the workspace's other analysts read stays, as do rows."""
    # Not at the top: it brings clickhouse-connect along.
    from headrace.runtime.analyst_databases import forget_analyst
    from headrace.runtime.logging import quiet_drivers

    quiet_drivers()
    settings = reach.settings_for(home)
    login = reach.processor_login(settings)
    cluster = None if settings.has_embedded_store else settings.clickhouse_cluster
    with reach.open_control(settings) as control:
        users = {user.name: user for user in control.list_store_users()}
        user = users.pop(name, None)
        if user is None or user.role is not Role.ANALYST:
            analysts = sorted(each.name for each in users.values() if each.role is Role.ANALYST)
            raise HeadraceError(f"there is no analyst {name!r} (there is: {', '.join(analysts)})")
        try:
            reach.demand_store(settings)
            forget_analyst(login, user, users.values(), cluster)
        except (Unavailable, Overloaded, reach.NoNode) as error:
            if cluster is not None:  # the login is the server's: it would go on
                raise reach.store_out_of_reach(login.url, error) from error
        control.drop_store_user(name)
    say(f"Analyst {name} cannot log in any more.")


@app.command(name="list")
def list_(*, json: JsonOption = False, home: HomeOption = None) -> None:
    """List the analysts of all workspaces."""
    with reach.open_control(reach.settings_for(home)) as control:
        names = {each.id: each.name for each in control.list_workspaces()}
        analysts = [
            {
                "user": user.name,
                "workspace": names.get(user.workspace_id or "", ""),
                "workspace_id": user.workspace_id,
                "database": user.database,
            }
            for user in control.list_store_users()
            if user.role is Role.ANALYST
        ]
    if json:
        print_json(analysts)
    else:
        rows = [(each["user"], each["workspace"], each["database"]) for each in analysts]
        print_table(("user", "workspace", "database"), rows)
