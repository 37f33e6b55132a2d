"""`headrace export`: a workspace's stored events as NDJSON, CSV or Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from headrace.runtime import reach
from headrace.runtime.clock import SystemClock
from headrace.runtime.commands.output import say
from headrace.runtime.exporting.stored import StoredEvent, StoredEvents, Wanted
from headrace.runtime.exporting.target import format_of, opened
from headrace.runtime.exporting.writers import Format, writer_of
from headrace.runtime.moments import parse_since
from headrace.runtime.options import HomeOption
from headrace.runtime.settings import Settings
from headrace.runtime.store_reader import StoreReader
from headrace.schemas.errors import HeadraceError

_STANDARD_OUTPUT = "-"
_MORE = """
The format is the one that FILE is named after (.ndjson, .csv, .parquet), `.gz` or `.zst` behind it
packs NDJSON and CSV. A FILE is there when it is whole, or not at all.

Events are those that are stored, in order of time; what arrives meanwhile may be left out. NDJSON
goes back in as it is: `headrace send FILE` (its events get ids of their own).

Exit code: 0 all written; 1 ended before the end; 130 interrupted.
"""

export = App(name="export", help_epilogue=_MORE)


@export.default
def run(
    file: Annotated[
        Path | None,
        Parameter(help="Where to; `-` or nothing: standard output.", allow_leading_hyphen=True),
    ] = None,
    /,
    *,
    workspace: Annotated[
        str | None, Parameter(help="Whose; needed where there are several.")
    ] = None,
    from_: Annotated[
        str | None,
        Parameter(name="--from", help="Events of this time or later: 7d ago, or ISO 8601."),
    ] = None,
    to: Annotated[str | None, Parameter(help="Events before this time.")] = None,
    format: Annotated[  # noqa: A002 - the option's name
        Format | None, Parameter(help="ndjson, csv or parquet.")
    ] = None,
    force: Annotated[bool, Parameter(negative="", help="Replace a FILE that is there.")] = False,
    home: HomeOption = None,
) -> None:
    """Write a workspace's stored events to a file or to standard output."""
    target = None if file is None or str(file) == _STANDARD_OUTPUT else file
    kind = format_of(target, format)
    settings = reach.settings_for(home)
    first, end = _moments(settings, from_, to)
    name, workspace_id = _workspace(settings, workspace)
    with StoreReader(reach.operator_login(settings)) as store:
        found = StoredEvents(store, Wanted(workspace_id, first, end))
        with opened(target, may_replace=force) as out, writer_of(kind, out) as writer:
            written = 0
            for event in _watched(found):
                writer.write(event)
                written += 1
    where = target or "standard output"
    say(f"{written:,} event{'' if written == 1 else 's'} of workspace {name} written to {where}.")
    if not written:
        say("None is stored for that time; --from and --to are compared with `timestamp`.")


def _watched(found: StoredEvents) -> Iterator[StoredEvent]:
    console = Console(stderr=True)
    columns = (
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} events"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=found.span.count)
        for number, event in enumerate(found.read(), 1):
            yield event
            if number % 1_000 == 0:
                bar.update(task, completed=number)
        bar.update(task, completed=found.span.count)


def _moments(
    settings: Settings, from_: str | None, to: str | None
) -> tuple[datetime | None, datetime | None]:
    now = SystemClock(settings.clock_offset_seconds).now()
    first = None if from_ is None else parse_since(from_, now)
    end = None if to is None else parse_since(to, now)
    if first is not None and end is not None and first >= end:
        raise HeadraceError(
            f"--from {from_} is not before --to {to}; nothing lies between {first:%Y-%m-%dT%H:%MZ} "
            f"and {end:%Y-%m-%dT%H:%MZ}"
        )
    return first, end


def _workspace(settings: Settings, name: str | None) -> tuple[str, str]:
    """Name and id of the workspace that is meant."""
    with reach.open_control(settings) as control:
        if name is not None:
            found = control.find_workspace(name)
            return found.name, found.id
        there = control.list_workspaces()
    if len(there) != 1:
        names = ", ".join(each.name for each in there)
        raise HeadraceError(f"there are {len(there)} workspaces; say --workspace: {names}")
    return there[0].name, there[0].id
