"""`headrace rejected list|replay`."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from headrace.runtime import reach
from headrace.runtime.clock import SystemClock
from headrace.runtime.commands.output import JsonOption, print_json, print_table, say
from headrace.runtime.moments import parse_since
from headrace.runtime.node_state import collector_url
from headrace.runtime.options import NOT_NEGATIVE, HomeOption
from headrace.runtime.rejects import (
    Wanted,
    count_rejects,
    count_unreadable,
    latest_rejects,
    rejected_events,
)
from headrace.runtime.replaying import Replay, Replayed
from headrace.runtime.settings import Settings
from headrace.runtime.store_reader import StoreReader
from headrace.workspaces.database import ControlData
from headrace.workspaces.port import Workspace

EXIT_NOT_ALL_STORED = 3

app = App(name="rejected", help="Events that were accepted, but not stored, and why.")

WorkspaceOption = Annotated[str | None, Parameter(help="Only this workspace's.")]
CodeOption = Annotated[str | None, Parameter(help="Only these: schema_violation …")]
EventOption = Annotated[str | None, Parameter(help="Only events of this type.")]
SinceOption = Annotated[
    str | None, Parameter(help="Received since: 30m, 12h, 7d ago, or an ISO date-time.")
]


@app.command(name="list")
def list_(
    *,
    workspace: WorkspaceOption = None,
    code: CodeOption = None,
    event: EventOption = None,
    since: SinceOption = None,
    limit: Annotated[int, Parameter(help="How many examples.", validator=NOT_NEGATIVE)] = 10,
    all: Annotated[  # noqa: A002 - the option's name
        bool, Parameter(negative="", help="Also those stored by a replay since.")
    ] = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Count rejected events by type and cause, and show the last ones."""
    with ExitStack() as stack:
        place = _open(stack, home)
        wanted = Wanted(
            workspace_id=place.workspace_id(workspace),
            code=code,
            event=event,
            since=_since(since),
            with_replayed=all,
        )
        store = place.store
        counts = count_rejects(store, wanted)
        examples = latest_rejects(store, wanted, max(0, limit))
    if json:
        print_json({"counts": counts, "examples": examples})
        return
    if not counts:
        say("No rejected events.")
        return
    print_table(
        ("count", "workspace", "event", "code", "path", "for example"),
        [
            (
                each.count,
                place.name_of(each.workspace_id),
                each.event,
                each.code,
                each.path,
                each.reason,
            )
            for each in counts
        ],
    )
    print()
    print_table(
        ("received", "event id", "event", "path", "reason"),
        [
            (each.received_at[:19], each.event_id, each.event, each.path, each.reason)
            for each in examples
        ],
    )


@app.command
def replay(
    *,
    workspace: WorkspaceOption = None,
    code: CodeOption = None,
    event: EventOption = None,
    since: SinceOption = None,
    id: Annotated[  # noqa: A002 - the option's name
        list[str] | None, Parameter(negative="", help="Only this event; may be repeated.")
    ] = None,
    limit: Annotated[
        int, Parameter(help="At most so many, oldest first.", validator=NOT_NEGATIVE)
    ] = 100_000,
    dry_run: Annotated[bool, Parameter(negative="", help="Count, and send nothing.")] = False,
    wait_seconds: Annotated[
        float, Parameter(help="How long to wait for the outcome.", validator=NOT_NEGATIVE)
    ] = 60.0,
    home: HomeOption = None,
) -> int:
    """Send rejected events through again under their ids, after their schema was mended.

    Exit code: 0 all stored, 3 some were rejected again or are not settled yet.
    """
    with ExitStack() as stack:
        place = _open(stack, home)
        wanted = Wanted(
            workspace_id=place.workspace_id(workspace),
            code=code,
            event=event,
            since=_since(since),
            ids=id or (),
        )
        if unreadable := count_unreadable(place.store, wanted):
            say(f"{unreadable:,} unreadable records hold no event and stay where they are.")
        events = rejected_events(place.store, wanted, limit)
        if dry_run:
            _print_dry_run(Counter(place.name_of(each.workspace_id) for each in events))
            return 0
        url = collector_url(place.settings)
        verify = reach.verify_for(place.settings, url)
        run = Replay(place.control, place.store, url, SystemClock(), verify=verify)
        run.send(events, place.workspaces)
        result = run.wait(wait_seconds)
    _print_result(result)
    return 0 if result.stored == result.sent else EXIT_NOT_ALL_STORED


class _Place(msgspec.Struct, frozen=True):
    """HOME, opened for a command."""

    settings: Settings
    control: ControlData
    store: StoreReader
    workspaces: dict[str, Workspace]

    def workspace_id(self, name: str | None) -> str | None:
        return None if name is None else self.control.find_workspace(name).id

    def name_of(self, workspace_id: str) -> str:
        known = self.workspaces.get(workspace_id)
        return workspace_id if known is None else known.name


def _open(stack: ExitStack, home: Path | None) -> _Place:
    settings = reach.settings_for(home)
    control = stack.enter_context(reach.open_control(settings))
    store = stack.enter_context(StoreReader(reach.operator_login(settings)))
    return _Place(settings, control, store, {each.id: each for each in control.list_workspaces()})


def _since(text: str | None) -> datetime | None:
    return None if text is None else parse_since(text, SystemClock().now())


def _print_dry_run(counts: Counter[str]) -> None:
    for name, count in counts.items():
        print(f"{name}: {count:,} would be sent through again")
    if not counts:
        say("No rejected events to send through again.")


def _print_result(result: Replayed) -> None:
    if not result.sent:
        say("No rejected events to send through again.")
        return
    print_table(
        ("sent", "stored", "rejected again", "refused", "not settled yet"),
        [(result.sent, result.stored, result.rejected_again, result.refused, result.open)],
    )
    if result.open:
        say("The processor is not through with all of them; `headrace rejected list` tells later.")
