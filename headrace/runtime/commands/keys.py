"""`headrace keys create|list|revoke`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from cyclopts import App, Parameter

from headrace.runtime import reach
from headrace.runtime.clock import SystemClock
from headrace.runtime.commands.output import JsonOption, print_json, print_table, say
from headrace.runtime.options import HomeOption
from headrace.workspaces.checks import parse_expiry
from headrace.workspaces.keys import hint
from headrace.workspaces.port import ApiKey, Scope

app = App(name="keys", help="API keys: create, list, revoke. In force within a second.")


@app.command
def create(
    *,
    workspace: Annotated[str, Parameter(help="The workspace's name or id.")],
    scope: Annotated[
        list[Scope] | None,
        Parameter(help="What it may do; may be repeated.  [ingest]", negative=""),
    ] = None,
    name: Annotated[str, Parameter(help="What it is for.")] = "",
    expires: Annotated[
        str | None, Parameter(help="When it ends: 30d, 12h, 2027-01-01, an ISO date-time.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Create a key and print it, alone, on standard output: the only time it can be had."""
    scopes = scope or [Scope.INGEST]
    expires_at = parse_expiry(expires, SystemClock().now()) if expires else None
    with reach.open_control(reach.settings_for(home)) as control:
        owner = control.find_workspace(workspace)
        key = control.create_key(owner, scopes=scopes, name=name, expires_at=expires_at)
    until = f", until {expires_at:%Y-%m-%d %H:%M} UTC" if expires_at else ""
    say(f"Key {hint(key)} of workspace {owner.name} ({', '.join(scopes)}{until}).")
    say("It is not shown again: only its SHA-256 is kept.")
    print(key)


@app.command(name="list")
def list_(
    *,
    workspace: Annotated[str | None, Parameter(help="Only this workspace's.")] = None,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """List keys, oldest first, never the keys themselves."""
    with reach.open_control(reach.settings_for(home)) as control:
        owner = control.find_workspace(workspace) if workspace else None
        found = control.list_keys(owner)
    now = SystemClock().now()
    if json:
        print_json([_as_json(key, now) for key in found])
        return
    print_table(
        ("id", "key", "workspace", "name", "scopes", "state", "created", "expires", "last used"),
        [
            (
                key.id,
                key.hint,
                key.workspace.name,
                key.name,
                " ".join(sorted(key.scopes)),
                state_of(key, now),
                key.created_at,
                key.expires_at,
                key.last_used_at,
            )
            for key in found
        ],
    )


@app.command
def revoke(
    key: Annotated[str, Parameter(help="The key, its id, or how `keys list` shows it.")],
    /,
    *,
    home: HomeOption = None,
) -> None:
    """Revoke a key; refused within a second."""
    with reach.open_control(reach.settings_for(home)) as control:
        revoked = control.revoke_key(key)
    say(f"Key {revoked.hint} of workspace {revoked.workspace.name} is revoked.")


def state_of(key: ApiKey, now: datetime) -> str:
    """`active`, `revoked` or `expired`."""
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "active"


def _as_json(key: ApiKey, now: datetime) -> dict[str, object]:
    return {
        "id": key.id,
        "key": key.hint,
        "workspace": key.workspace.name,
        "workspace_id": key.workspace.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "state": state_of(key, now),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }
