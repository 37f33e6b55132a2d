"""`headrace check`: the settings and where they come from, the versions, one event's way."""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.runtime.clock import SystemClock
from headrace.runtime.home import Home, check_layout
from headrace.runtime.node_state import read_node_state
from headrace.runtime.options import HomeOption, ListenOption, StoreListenOption
from headrace.runtime.settings import SETTINGS, read_settings, source_of
from headrace.runtime.version import headrace_version

if TYPE_CHECKING:
    from rich.console import Console

    from headrace.runtime.settings import Settings


def check(
    *,
    home: HomeOption = None,
    listen: ListenOption = None,
    store_listen: StoreListenOption = None,
) -> int:
    """Show the settings and where each comes from; follow one event if the node runs.

    The event goes through a workspace of its own (`headrace-check`). Exit code 1 if something
    is wrong.
    """
    from rich.console import Console

    settings = read_settings(home=home, listen=listen, store_listen=store_listen)
    place = Home(settings.home)
    check_layout(place)
    console = Console(highlight=False, soft_wrap=True)
    _show_settings(console, settings, home=home, listen=listen, store_listen=store_listen)
    _show_versions(console)
    if read_node_state(place) is None:
        console.print(
            f"\nNo node runs in {place.root}. Start one with `headrace up`, then check again to "
            "follow an event."
        )
        return 0
    return _follow(console, settings)


def _show_settings(console: Console, settings: Settings, **options: str | Path | None) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("setting", "value", "from"):
        table.add_column(column)
    for field, setting in SETTINGS.items():
        value = getattr(settings, field)
        text = ",".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
        table.add_row(setting.variable, text, source_of(field, None, **options))
    console.print(table)


def _show_versions(console: Console) -> None:
    versions = {
        "headrace": headrace_version(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "chdb": version("chdb-core"),
    }
    console.print("\n" + ", ".join(f"{name} {number}" for name, number in versions.items()))


def _follow(console: Console, settings: Settings) -> int:
    from headrace.runtime.trail import Trail

    console.print("\n[bold]One event from HTTP to its table:[/]")
    trouble = False
    for step in Trail(settings, SystemClock(settings.clock_offset_seconds)).steps():
        trouble = trouble or bool(step.trouble)
        mark = "[red]✗[/]" if step.trouble else "[green]✓[/]"
        console.print(f"  {mark} {step.name:<26} {step.seconds * 1000:7.1f} ms  ", end="")
        console.print(step.trouble or step.found, markup=False)
    return 1 if trouble else 0
