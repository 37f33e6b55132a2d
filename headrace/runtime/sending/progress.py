"""What a person sees while an import runs; nothing where nobody watches.

Owns the progress bar (bytes of a file, events of standard input) and the notices of waiting.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from headrace.runtime.sending.batches import Batch
from headrace.runtime.sending.source import Source


class Watch:
    """Follows one import; on a terminal as a bar, elsewhere one line per new notice."""

    def __init__(self, bar: Progress, task: TaskID, *, by_bytes: bool, console: Console) -> None:
        self._bar = bar
        self._task = task
        self._by_bytes = by_bytes
        self._console = console
        self._last_notice = ""

    def batch_done(self, batch: Batch) -> None:
        """A batch was judged."""
        step = batch.source_bytes if self._by_bytes else len(batch.events)
        self._bar.advance(self._task, step)

    def notice(self, text: str | None) -> None:
        """Why nothing moves; None when it does again."""
        self._bar.update(self._task, notice=escape(text or ""))
        if text and not self._console.is_terminal:
            reason = text.split(":")[0]
            if reason != self._last_notice:
                self._console.print(text, highlight=False, markup=False, soft_wrap=True)
            self._last_notice = reason


@contextmanager
def watch(source: Source, console: Console) -> Iterator[Watch]:
    """Show progress on `console` (standard error) while the block runs."""
    by_bytes = bool(source.size)
    columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}")]
    if by_bytes:
        columns += [BarColumn(), DownloadColumn(), TimeRemainingColumn()]
    else:
        columns.append(TextColumn("{task.completed:,.0f} events"))
    columns.append(TextColumn("[yellow]{task.fields[notice]}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(escape(source.name), total=source.size if by_bytes else None, notice="")
        yield Watch(bar, task, by_bytes=by_bytes, console=console)
