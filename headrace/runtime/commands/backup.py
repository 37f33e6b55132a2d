"""`headrace backup`: everything HOME keeps, in one file, while the node runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from headrace.runtime import reach
from headrace.runtime.backups.taking import take_backup
from headrace.runtime.clock import SystemClock
from headrace.runtime.commands.output import mebibytes, say, watched
from headrace.runtime.exporting.target import opened
from headrace.runtime.home import Home, check_layout
from headrace.runtime.options import HomeOption
from headrace.runtime.settings import Settings

_MORE = """
In it are tables, control data, positions, the log, and the credentials: keep the file as you keep
HOME. What is on servers of its own (HEADRACE_KAFKA, HEADRACE_CLICKHOUSE, HEADRACE_DATABASE) is
backed up there, by their own means.

The node goes on; events that come meanwhile may be in the backup or not. FILE is there when it is
whole, or not at all; it is a tar archive. `headrace restore FILE --home FOLDER` makes a HOME of it.
"""

backup = App(name="backup", help_epilogue=_MORE)


@backup.default
def run(
    file: Annotated[Path, Parameter(help="Where to, for example headrace.tar.")],
    /,
    *,
    force: Annotated[bool, Parameter(negative="", help="Replace a FILE that is there.")] = False,
    home: HomeOption = None,
) -> None:
    """Back up HOME into a file."""
    settings = reach.settings_for(home)
    with reach.open_control(settings):  # says if there is no node here, and brings it up to date
        pass
    check_layout(Home(settings.home))
    now = SystemClock(settings.clock_offset_seconds).now()
    with opened(file, may_replace=force, is_secret=True) as out, watched("backed up") as progress:
        manifest = take_backup(settings, out, file.parent, now, progress)
    size = sum(each.size for each in manifest.files.values())
    say(f"{len(manifest.files):,} files, {mebibytes(size)}, of {settings.home} are in {file}.")
    elsewhere = ", ".join(_elsewhere(settings))
    if elsewhere:
        say(f"Not in it, for they are on servers of their own: {elsewhere}.")


def _elsewhere(settings: Settings) -> list[str]:
    parts = {
        "the log (Kafka)": settings.has_local_log,
        "the tables (ClickHouse)": settings.has_embedded_store,
        "control data (PostgreSQL)": settings.has_local_control,
    }
    return [name for name, is_here in parts.items() if not is_here]
