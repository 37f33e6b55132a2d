"""`headrace restore`: a HOME made of a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from headrace.runtime import reach
from headrace.runtime.backups.restoring import restore_backup
from headrace.runtime.commands.output import mebibytes, say, watched
from headrace.runtime.options import HomeOption
from headrace.schemas.errors import HeadraceError

_MORE = """
HOME must be new: nothing is replaced. Every file is held against the backup's own list before HOME
gets its name. Then `headrace up` starts it, with the keys, passwords and workspaces it had, and
goes on where the backup left off; `headrace ledger` shows that every record is there once.

The node that the backup is of and the restored one are two nodes from then on.
"""

restore = App(name="restore", help_epilogue=_MORE)


@restore.default
def run(
    file: Annotated[Path, Parameter(help="What `headrace backup` wrote.")],
    /,
    *,
    home: HomeOption = None,
) -> None:
    """Make a HOME of a backup."""
    settings = reach.settings_for(home)
    try:
        with file.open("rb") as backup, watched("restored") as progress:
            manifest = restore_backup(backup, settings.home, progress)
    except OSError as error:
        raise HeadraceError(f"{file} cannot be restored into {settings.home}: {error}") from error
    size = sum(each.size for each in manifest.files.values())
    say(
        f"{len(manifest.files):,} files, {mebibytes(size)}, as of "
        f"{manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC, are in {settings.home}."
    )
    say(f"Start it with `headrace up --home {settings.home}`, then run `headrace ledger`.")
