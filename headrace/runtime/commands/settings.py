"""`headrace settings`: every setting, its default and its meaning; the README's table."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from headrace.runtime.settings import SETTINGS


def settings(
    *,
    markdown: Annotated[bool, Parameter(negative="", help="As the table of the README.")] = False,
) -> None:
    """List every setting: its environment variable, its default and what it is for."""
    if markdown:
        print("\n".join(markdown_table()))
    else:
        _print_table()


def markdown_table() -> list[str]:
    """The lines of the README's table."""
    rows = [
        f"| `{each.variable}` | {f'`{each.default}`' if each.default else ''} | {each.meaning} |"
        for each in SETTINGS.values()
    ]
    return ["| variable | default | meaning |", "|---|---|---|", *rows]


def _print_table() -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("variable", no_wrap=True)
    table.add_column("default")
    table.add_column("meaning")
    for each in SETTINGS.values():
        table.add_row(each.variable, each.default, each.meaning.replace("`", ""))
    Console(highlight=False).print(table)
