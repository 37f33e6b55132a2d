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

_HINT: Final = re.compile(r"\.?\s*Maybe you (?:meant|wanted)\b.*?(?=\. \([A-Z_]+\)$|\Z)", re.DOTALL)
_WORKSPACE_DATABASE: Final = re.compile(r"\bws_\w+")
_MOST_CHARACTERS: Final = 4_000


def scrub(refusal: Refusal, rights: Rights, folder: Path) -> Refusal:
    """The refusal as this user may read it."""
    text = refusal.text
    if rights.is_analyst and refusal.is_the_engines:
        text = _HINT.sub("", text)
        text = text.replace(str(folder), "<folder>")
        text = text.replace(f"{CATALOG}.`{rights.database}:", "`system.")
        text = text.replace(f"{CATALOG}.{rights.database}:", "system.")
        text = _WORKSPACE_DATABASE.sub(
            lambda found: found[0] if found[0] == rights.database else "<database>", text
        )
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[: _MOST_CHARACTERS // 2]} … {text[-_MOST_CHARACTERS // 2 :]}"
    return refusal.with_text(text)
