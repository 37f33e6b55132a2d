"""Where an INSERT's statement ends and its data begins.

Only the processor may insert, so this reads what our own adapter and `clickhouse-connect`
write; it is no part of the wall.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_TOKEN: Final = re.compile(
    rb"""\s+ | --[^\n]*\n | /\*.*?\*/                    # nothing
    | '(?:[^'\\]|\\.|'')*' | `(?:[^`\\]|\\.)*` | "(?:[^"\\]|\\.)*"   # quoted
    | \w+ | .""",
    re.DOTALL | re.VERBOSE,
)
_STARTS: Final = re.compile(rb"(?:\s+|--[^\n]*\n|/\*.*?\*/)*INSERT\b", re.IGNORECASE | re.DOTALL)


class Insert(msgspec.Struct, frozen=True):
    """`INSERT INTO …` without `FORMAT x` or `VALUES`, the data's format, where data begins."""

    statement: str
    data_format: str
    data_start: int


def is_insert(text: bytes) -> bool:
    return _STARTS.match(text) is not None


def find_insert(text: bytes) -> Insert | None:
    """The insert in `text`; None if it takes no data (`INSERT … SELECT`) or is not whole yet."""
    depth = 0
    for token in _TOKEN.finditer(text):
        word = token[0].upper()
        depth += (word == b"(") - (word == b")")
        if depth:
            continue
        if word in {b"SELECT", b"WITH"}:
            return None
        if word == b"VALUES":
            return Insert(text[: token.start()].decode(), "Values", token.end())
        if word == b"FORMAT":
            return _with_format(text, token)
    return None


def _with_format(text: bytes, keyword: re.Match[bytes]) -> Insert | None:
    name = re.compile(rb"\s*(\w+)[ \t\r]*(\n|$|(?=\S))").match(text, keyword.end())
    if name is None:
        return None
    return Insert(text[: keyword.start()].decode(), name[1].decode(), name.end())
