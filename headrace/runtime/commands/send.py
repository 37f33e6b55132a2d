"""`headrace send`: NDJSON into events, in batches that may be repeated without doubling."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.runtime import reach
from headrace.runtime.commands.output import console, printable
from headrace.runtime.options import HomeOption
from headrace.runtime.sending.delivery import SendingEnded
from headrace.runtime.sending.importing import Options, send_all
from headrace.runtime.sending.mapping import Fields
from headrace.runtime.sending.progress import watch
from headrace.runtime.sending.source import DamagedSource, open_source
from headrace.runtime.sending.summary import EXIT_INTERRUPTED, EXIT_STOPPED, Reason, Summary
from headrace.schemas.errors import HeadraceError
from headrace.schemas.records import MAX_EVENTS_PER_REQUEST

MAX_CONCURRENCY = 64
_REPEAT = "Run the same command again: what was taken is not taken twice."
_MORE = """
Paths are keys with dots between them, `attribute.user_id`. At each level the longest key that is
there wins; `\\.` is a dot inside a key. Null and empty ids count as absent.

An interrupted import may be repeated: with the same file, paths and batch size every batch goes
under the same Idempotency-Key as before, and what was taken is not taken again.

Exit code: 0 all accepted; 3 all sent, some events rejected or lines unreadable; 1 ended before
the end; 130 interrupted.
"""

send = App(name="send", help_epilogue=_MORE)


@send.default
def run(
    file: Annotated[
        Path | None,
        Parameter(
            help="NDJSON, plain, gzip or zstd; `-` or nothing: standard input.",
            allow_leading_hyphen=True,
        ),
    ] = None,
    /,
    *,
    event: Annotated[str, Parameter(help="Path of the event's name.")] = "event",
    user_id: Annotated[str, Parameter(help="Path of the user id.")] = "user_id",
    anonymous_id: Annotated[str, Parameter(help="Path of the anonymous id.")] = "anonymous_id",
    timestamp: Annotated[str, Parameter(help="Path of the time, ISO 8601.")] = "timestamp",
    properties: Annotated[
        str, Parameter(help="Path of the properties; `.`: the whole object.")
    ] = "properties",
    url: reach.UrlOption = None,
    key: reach.KeyOption = None,
    key_file: reach.KeyFileOption = None,
    batch_size: Annotated[
        int, Parameter(help="Events in a request; another one makes other batches.")
    ] = MAX_EVENTS_PER_REQUEST,
    concurrency: Annotated[int, Parameter(help="Requests at once.")] = 4,
    compress: Annotated[bool, Parameter(negative="", help="Send gzip: for slow networks.")] = False,
    home: HomeOption = None,
) -> int:
    """Send events from NDJSON; returns the exit code that the help names."""
    options = Options(
        fields=Fields(event, user_id, anonymous_id, timestamp, properties),
        batch_size=_within("--batch-size", batch_size, MAX_EVENTS_PER_REQUEST),
        concurrency=_within("--concurrency", concurrency, MAX_CONCURRENCY),
        compress=compress,
    )
    settings = reach.settings_for(home)
    target = reach.target_for(settings, url=url, key=key, key_file=key_file)
    verify = reach.verify_for(settings, target.url)
    summary = Summary()
    trouble = Console(stderr=True, highlight=False)
    code = EXIT_STOPPED
    try:
        with open_source(file) as source, watch(source, trouble) as bar:
            asyncio.run(send_all(source, target, options, summary, bar, verify=verify))
        code = summary.exit_code
    except (SendingEnded, DamagedSource) as error:
        first = "Mend the file. " if isinstance(error, DamagedSource) else ""
        _say(trouble, f"headrace: {error}")
        _say(trouble, f"Not everything was sent. {first}{_REPEAT}")
    except KeyboardInterrupt:
        _say(trouble, f"Interrupted. {_REPEAT}")
        code = EXIT_INTERRUPTED
    _print_summary(summary)
    return code


def _within(name: str, number: int, most: int) -> int:
    if not 1 <= number <= most:
        raise HeadraceError(f"{name} {number}: give a number from 1 to {most:,}")
    return number


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


def _print_summary(summary: Summary) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    before = f"{summary.replayed:,} of them had been taken before" if summary.replayed else ""
    rate = (summary.accepted + summary.rejected) / summary.seconds if summary.seconds else 0.0
    table.add_row("lines read", f"{summary.lines_read:,}")
    table.add_row("accepted", f"{summary.accepted:,}", before)
    table.add_row("rejected", f"{summary.rejected:,}")
    _add_reasons(table, summary.rejected_by)
    table.add_row("unreadable lines", f"{summary.unreadable:,}")
    _add_reasons(table, summary.unreadable_by)
    table.add_row("seconds", f"{summary.seconds:,.1f}", f"{rate:,.0f} events/s")
    console().print(table)


def _add_reasons(table: Table, reasons: dict[str, Reason]) -> None:
    for code, reason in sorted(reasons.items(), key=lambda item: -item[1].count):
        example = printable(f"line {reason.where()}: {reason.example}")
        table.add_row(Text(f"  {printable(code)}"), f"{reason.count:,}", Text(example))
