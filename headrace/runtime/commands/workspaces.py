"""`headrace workspaces create|list|limit|retention`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from headrace.runtime import reach
from headrace.runtime.commands.output import JsonOption, print_json, print_table, say
from headrace.runtime.options import HomeOption
from headrace.schemas.errors import HeadraceError
from headrace.workspaces.port import Workspace

NODE_DEFAULT = "default"

app = App(name="workspaces", help="Tenants: each has its own keys, limits and analysts.")

DryRunOption = Annotated[
    bool,
    Parameter(negative="", help="Count what the limit would refuse, and refuse nothing."),
]


@app.command
def create(
    name: str,
    /,
    *,
    requests_per_minute: Annotated[
        int | None, Parameter(help="Its own rate limit; the node's default if not given.")
    ] = None,
    dry_run_limit: DryRunOption = False,
    home: HomeOption = None,
) -> None:
    """Create a workspace; a running node knows it within a second."""
    with reach.open_control(reach.settings_for(home)) as control:
        workspace = control.create_workspace(
            name, requests_per_minute=requests_per_minute, dry_run=dry_run_limit
        )
    say(f"Workspace {workspace.name} is made. Next: headrace keys create --workspace {name!r}")
    print(workspace.id)


@app.command(name="list")
def list_(*, json: JsonOption = False, home: HomeOption = None) -> None:
    """List the workspaces, oldest first."""
    settings = reach.settings_for(home)
    with reach.open_control(settings) as control:
        found = control.list_workspaces()
    if json:
        print_json(found)
        return
    default = f"{settings.requests_per_minute:,} (default)"
    print_table(
        ("name", "id", "requests per minute", "limit is", "created"),
        [
            (each.name, each.id, _limit(each, default), _mode(each), each.created_at)
            for each in found
        ],
    )


@app.command
def limit(
    name: str,
    requests_per_minute: Annotated[
        str, Parameter(help="Requests in any 60 s; `default` for the node's.")
    ],
    /,
    *,
    dry_run_limit: DryRunOption = False,
    home: HomeOption = None,
) -> None:
    """Change a workspace's rate limit; in force within a second."""
    with reach.open_control(reach.settings_for(home)) as control:
        changed = control.set_limit(
            control.find_workspace(name),
            requests_per_minute=_number(requests_per_minute),
            dry_run=dry_run_limit,
        )
    per_minute = changed.requests_per_minute or "the node's default of"
    say(f"{changed.name}: {per_minute} requests a minute, {_mode(changed)}.")


@app.command
def retention(
    name: str,
    days: Annotated[
        str | None, Parameter(help="Days, or `forever`; without it, say what it is.")
    ] = None,
    /,
    *,
    home: HomeOption = None,
) -> None:
    """For how long a workspace's rows are kept, counted from when events were received.

    Older ones are deleted once an hour, links excepted; `headrace ledger` counts them as expired.
    """
    from headrace.store.retention import keep_for, kept_days  # it brings clickhouse-connect along

    settings = reach.settings_for(home)
    with reach.open_control(settings) as control:
        workspace = control.find_workspace(name)
    with reach.writing_to_store(settings) as (connection, database):
        if days is not None:
            keep_for(connection, database, workspace.id, _days(days))
        kept = kept_days(connection, database).get(workspace.id)
    say(f"{workspace.name}: rows are kept {'for ever' if kept is None else f'for {kept:,} days'}.")


def _days(text: str) -> int:
    if text == "forever":
        return 0
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
        raise HeadraceError(f"{text!r} is no number of days: give 1 or more, or `forever`")
    return int(text)


def _number(text: str) -> int | None:
    if text == NODE_DEFAULT:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise HeadraceError(f"{text!r} is no limit: give a number or `{NODE_DEFAULT}`") from error


def _limit(workspace: Workspace, default: str) -> str:
    own = workspace.requests_per_minute
    return default if own is None else f"{own:,}"


def _mode(workspace: Workspace) -> str:
    return "only counted" if workspace.rate_limit_dry_run else "enforced"
