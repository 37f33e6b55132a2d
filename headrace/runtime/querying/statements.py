"""Where a statement ends: text that is typed or pasted, cut at its semicolons.

Owns what ClickHouse reads as one piece (quotes, comments, heredocs), in which a semicolon ends
nothing. Whether a statement is right is the store's business.
"""

from __future__ import annotations

import re
from typing import Final

# Each piece may be open at the end of the text: it is still being typed.
_PIECE: Final = re.compile(
    r"""
      '(?:[^'\\]|\\.|\\\Z)*(?:'|\Z)
    | "(?:[^"\\]|\\.|\\\Z)*(?:"|\Z)
    | `(?:[^`\\]|\\.|\\\Z)*(?:`|\Z)
    | (?P<comment>--[^\n]* | \#[\ !][^\n]* | /\*.*?(?:\*/|\Z))
    | \$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)
    | (?P<end>;)
    """,
    re.VERBOSE | re.DOTALL,
)
_LEAVE: Final = frozenset({"exit", "quit"})


def split_statements(text: str) -> tuple[list[str], str]:
    """The statements that a semicolon ends, without it, and what comes after the last one."""
    statements = []
    begin = 0
    for piece in _PIECE.finditer(text):
        if piece["end"]:
            statements.append(text[begin : piece.start()].strip())
            begin = piece.end()
    return [each for each in statements if not is_blank(each)], text[begin:].strip()


def is_blank(text: str) -> bool:
    """Whether there is nothing but space and comments."""
    return not _PIECE.sub(lambda piece: " " if piece["comment"] else piece[0], text).strip()


def is_order(text: str) -> bool:
    r"""Whether it is for the prompt and not for the store: `\q` and its like, `exit`, `quit`."""
    return text.lstrip().startswith("\\") or is_leaving(text)


def is_leaving(text: str) -> bool:
    """Whether it asks to leave the prompt by a word."""
    return text.strip().rstrip("; ").lower() in _LEAVE


def is_whole(text: str) -> bool:
    """Whether Enter sends it: an order, nothing, or statements that all have their semicolon."""
    return is_order(text) or is_blank(split_statements(text)[1])


def is_inside_piece(text: str) -> bool:
    """Whether the text ends within quotes or a comment, where names mean nothing."""
    pieces = list(_PIECE.finditer(text))
    if not pieces or pieces[-1].end() < len(text) or pieces[-1]["end"]:
        return False
    last = pieces[-1]
    whole = last[0]
    if last["comment"]:
        return not (whole.startswith("/*") and whole.endswith("*/") and len(whole) > 3)
    if last["tag"] is not None:
        mark = f"${last['tag']}$"
        return not (whole.endswith(mark) and len(whole) >= 2 * len(mark))
    return not re.fullmatch(r"(['\"`])(?:\\.|(?!\1)[^\\])*\1", whole, re.DOTALL)
