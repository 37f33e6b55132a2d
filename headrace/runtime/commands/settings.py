"""`headrace settings`: every setting, its default and its meaning; the README's table."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from headrace.runtime.commands.output import print_table
from headrace.runtime.setting_table import SETTINGS


def settings(
    *,
    markdown: Annotated[bool, Parameter(negative="", help="As the table of the README.")] = False,
) -> None:
    """List every setting: its environment variable, its default and what it is for."""
    if markdown:
        print("\n".join(markdown_table()))
    else:
        print_table(
            ("variable", "default", "meaning"),
            [(each.variable, each.default, each.meaning) for each in SETTINGS.values()],
        )


def markdown_table() -> list[str]:
    """The lines of the README's table."""
    rows = [
        f"| `{each.variable}` | {f'`{each.default}`' if each.default else ''} | {each.meaning} |"
        for each in SETTINGS.values()
    ]
    return ["| variable | default | meaning |", "|---|---|---|", *rows]
