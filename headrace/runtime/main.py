"""The command line's entry: which commands there are, and how they fail.

Owns the list of commands, one line each; what a command does is in `commands/`. A command's
module is imported only when it runs, so that `headrace --help` and the node's processes start
fast.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Final

from cyclopts import App, Group

from headrace.runtime.version import headrace_version
from headrace.schemas.errors import HeadraceError

EXIT_TROUBLE: Final = 1
EXIT_USAGE: Final = 2
_NOT_OURS: Final = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EROFS})

NODE: Final = Group("Node", sort_key=1)
EVENTS: Final = Group("Events", sort_key=2)
ACCESS: Final = Group("Access", sort_key=3)
PROCESSES: Final = Group("Processes (`headrace up` runs all three)", sort_key=4)

COMMANDS: Final = (
    # name, "module:function or App", help, group
    ("up", "up:up", "Start the whole node here and keep it running.", NODE),
    ("status", "status:status", "What runs, since when, how far behind, how much disk.", NODE),
    ("check", "check:check", "Show the settings and follow one event to its table.", NODE),
    ("settings", "settings:settings", "List every setting.", NODE),
    ("migrate", "migrate:migrate", "Prepare control data, topic and tables.", NODE),
    ("backup", "backup:backup", "Everything HOME keeps in one file, while the node runs.", NODE),
    ("restore", "restore:restore", "Make a HOME of a backup.", NODE),
    ("store", "store:store", "Run the embedded ClickHouse server alone.", PROCESSES),
    ("collector", "collector:collector", "Run the HTTP edge alone.", PROCESSES),
    ("processor", "processor:processor", "Run the processor alone.", PROCESSES),
    ("send", "send:send", "Send events from NDJSON.", EVENTS),
    ("export", "export:export", "Write stored events as NDJSON, CSV or Parquet.", EVENTS),
    ("sample", "sample:sample", "Write made-up events as NDJSON.", EVENTS),
    ("query", "query:query", "Run a query, or ask for them at a prompt.", EVENTS),
    ("ledger", "ledger:ledger", "Is every record there once? Names those that are not.", EVENTS),
    ("rejected", "rejected:app", "Rejected events: list, send through again.", EVENTS),
    ("erase", "erase:erase", "Erase a person, and keep out whatever brings them back.", EVENTS),
    ("identities", "identities:app", "Who is whom: show, unlink, link.", EVENTS),
    ("workspaces", "workspaces:app", "Create and list workspaces.", ACCESS),
    ("keys", "keys:app", "Create, list and revoke API keys.", ACCESS),
    ("analysts", "analysts:app", "Create, list and drop analysts.", ACCESS),
)


def build_cli() -> App:
    """The command line as an object, for `main` and for tests."""
    cli = App(
        name="headrace",
        help="Product events in over HTTP, durable before the answer, rows in ClickHouse.",
        version=headrace_version,
        result_action="return_int_as_exit_code_else_zero",
        help_format="markdown",
    )
    for name, path, text, group in COMMANDS:
        cli.command(f"headrace.runtime.commands.{path}", name=name, help=text, group=group)
    return cli


def main() -> int:
    """Run `headrace` with this process's arguments; returns the exit code."""
    try:
        return int(build_cli()(sys.argv[1:]) or 0)
    except HeadraceError as error:
        sys.stderr.write(f"headrace: {error}\n")
        return _exit_code(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `headrace query … | head`: the reader has enough
        _close_output()
        return EXIT_TROUBLE
    except OSError as error:
        if error.errno in _NOT_OURS and error.filename is not None:
            why = f"{error.strerror}. Is it another user's, or no folder? See --home"
            sys.stderr.write(f"headrace: cannot use {error.filename}: {why} (HEADRACE_HOME).\n")
            return EXIT_TROUBLE
        if error.errno != errno.ENOSPC:
            raise
        _close_output()
        where = error.filename or "the output"
        sys.stderr.write(f"headrace: cannot write {where}: the disk is full; make room\n")
        return EXIT_TROUBLE


def _close_output() -> None:
    """What is left is flushed into nothing; it would fail again at the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)


def _exit_code(error: HeadraceError) -> int:
    from headrace.runtime.settings import BadSettings

    return EXIT_USAGE if isinstance(error, BadSettings) else EXIT_TROUBLE
