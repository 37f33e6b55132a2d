"""What an analyst may not learn from an error message or a header.

The engine helps with hints that name other tables, and messages hold paths and the names of the
views behind `system`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from headrace.store.server.answers import Refusal
from headrace.store.server.rights import CATALOG, Rights

_HINT: Final = re.compile(r"Maybe you (?:meant|wanted)\b")
_NAME: Final = re.compile(r"\. \([A-Z_]+\)\Z")
_NAME_CHARACTERS: Final = 100
_MOST_ROWS: Final = re.compile(r"max rows: ([\w. ]+)")
_TOO_MANY_ROWS: Final = 158
_WORKSPACE_DATABASE: Final = re.compile(r"\bws_\w+")
_MOST_CHARACTERS: Final = 4_000


def scrub(refusal: Refusal, rights: Rights, folder: Path) -> Refusal:
    """The refusal as this user may read it."""
    text = refusal.text
    if rights.is_analyst and refusal.is_the_engines:
        if refusal.code == _TOO_MANY_ROWS and "max_rows_to_read" in text:
            return refusal.with_text(_too_many_rows(text))
        text = _without_hint(text)
        text = text.replace(str(folder), "<folder>")
        text = text.replace(f"{CATALOG}.`{rights.database}:", "`system.")
        text = text.replace(f"{CATALOG}.{rights.database}:", "system.")
        text = _WORKSPACE_DATABASE.sub(
            lambda found: found[0] if found[0] == rights.database else "<database>", text
        )
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[: _MOST_CHARACTERS // 2]} … {text[-_MOST_CHARACTERS // 2 :]}"
    return refusal.with_text(text)


def _without_hint(text: str) -> str:
    """The text up to the hint, and the error's name. By steps: one expression for all of it tries
    every blank of a text that a query has filled with them."""
    hint = _HINT.search(text)
    if hint is None:
        return text
    end = max(hint.start(), len(text) - _NAME_CHARACTERS)
    name = _NAME.search(text[end:])
    return text[: hint.start()].rstrip().removesuffix(".") + (name[0] if name else "")


def _too_many_rows(text: str) -> str:
    """The engine says how many there are, those of other workspaces in shared granules included."""
    most = _MOST_ROWS.search(text)
    limit = f" ({most[1]})" if most else ""
    return (
        f"Code: {_TOO_MANY_ROWS}. DB::Exception: The query would read more rows than one query "
        f"may{limit}; ask for less time, for fewer event types or for one person (TOO_MANY_ROWS)"
    )
