"""`headrace check`: the settings, the versions, what is found at each part, one event's way."""

from __future__ import annotations

import contextlib
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from headrace.runtime.clock import SystemClock
from headrace.runtime.commands.output import console, print_table, printable
from headrace.runtime.home import Home, check_layout
from headrace.runtime.node_state import read_node_state
from headrace.runtime.options import HomeOption, ListenOption, StoreListenOption
from headrace.runtime.setting_table import SETTINGS
from headrace.runtime.settings import Settings, read_settings, shown, source_of
from headrace.runtime.version import headrace_version


def check(
    *,
    home: HomeOption = None,
    listen: ListenOption = None,
    store_listen: StoreListenOption = None,
) -> int:
    """Show the settings and what is found at each part; follow one event if the node runs.

    The event goes through a workspace of its own (`headrace-check`). Exit code 1 if something
    is wrong.
    """
    settings = read_settings(home=home, listen=listen, store_listen=store_listen)
    place = Home(settings.home)
    check_layout(place)
    _show_settings(settings, home=home, listen=listen, store_listen=store_listen)
    _show_versions()
    is_well = _show_parts(settings)
    if read_node_state(place) is None and settings.has_embedded_store:
        print(
            f"\nNo node runs in {place.root}. Start one with `headrace up`, then check again to "
            "follow an event."
        )
        return 0 if is_well else 1
    return max(_follow(settings), 0 if is_well else 1)


def _show_parts(settings: Settings) -> bool:
    """What was found at each part; whether all is well."""
    from headrace.runtime.inspecting import inspect_parts
    from headrace.runtime.logging import quiet_drivers

    quiet_drivers()
    shown = console()
    shown.print("\n[bold]What it is made of:[/]")
    is_well = True
    for found in inspect_parts(settings):
        mark = "[red]✗[/]" if found.problems else "[green]✓[/]"
        shown.print(f"  {mark} {found.part:<14} ", end="")
        shown.print(printable(found.what), markup=False)
        for problem in found.problems:
            shown.print(printable(f"      {problem}"), markup=False)
        for remark in found.remarks:
            shown.print(printable(f"      note: {remark}"), markup=False)
        is_well = is_well and not found.problems
    return is_well


def _show_settings(settings: Settings, **options: str | Path | None) -> None:
    rows = [
        (setting.variable, shown(field, settings), source_of(field, None, **options))
        for field, setting in SETTINGS.items()
    ]
    print_table(("setting", "value", "from"), rows)


def _show_versions() -> None:
    versions = {
        "headrace": headrace_version(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    with contextlib.suppress(PackageNotFoundError):  # an image for servers of its own lacks it
        versions["chdb"] = version("chdb-core")
    print("\n" + ", ".join(f"{name} {number}" for name, number in versions.items()))


def _follow(settings: Settings) -> int:
    from headrace.runtime.trail import Trail

    shown = console()
    shown.print("\n[bold]One event from HTTP to its table:[/]")
    trouble = False
    for step in Trail(settings, SystemClock(settings.clock_offset_seconds)).steps():
        trouble = trouble or bool(step.trouble)
        mark = "[red]✗[/]" if step.trouble else "[green]✓[/]"
        shown.print(f"  {mark} {step.name:<26} {step.seconds * 1000:7.1f} ms  ", end="")
        shown.print(printable(step.trouble or step.found), markup=False)
    return 1 if trouble else 0
