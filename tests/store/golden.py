"""Statements against the files in `tests/golden/`; `GOLDEN=renew pytest …` writes them anew."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent.parent / "golden"


def check_golden(name: str, statements: Sequence[str]) -> None:
    """The statements are those of the file; the difference shows in the assertion."""
    file = FOLDER / name
    text = "\n\n".join(f"{statement};" for statement in statements) + "\n"
    if os.environ.get("GOLDEN") == "renew":
        file.write_text(text)
    assert text == file.read_text(), f"{name} differs; if it should, run with GOLDEN=renew"
