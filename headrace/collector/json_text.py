"""Whole-body checks and repairs that come before, or instead of, the decoder's.

Owns what JSON text needs that msgspec does not do: `Raw` lets invalid UTF-8 through, a lone
surrogate escape is an error to it, and it gives up on deep nesting for the whole body, though
only one event of a batch may be at fault.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from headrace.collector.requests import Body

DEEPEST_KEPT: Final = 100
"""Far deeper than properties may nest, far less than the decoder can take."""

_CHUNK_BYTES: Final = 64 * 1024

_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_FINE: Final = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F][0-9a-fA-F]{2})|" + _HIGH + _LOW + rb")*+",
    re.DOTALL,
)
_LONE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_REPLACEMENT: Final = rb"\ufffd"
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]+|[\]}]+', re.DOTALL)


def invalid_utf8_at(body: Body) -> int | None:
    """The offset of the first byte that is not UTF-8, None if there is none."""
    if body.isascii():
        return None
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(body)
    # In chunks: the whole text at once would take up to four times the body's memory.
    for start in range(0, len(body), _CHUNK_BYTES):
        end = start + _CHUNK_BYTES
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(view[start:end], final=end >= len(body))
        except UnicodeDecodeError as error:
            return start - pending + error.start
    return None


def replace_lone_surrogates(body: Body) -> Body:
    """The body with every lone surrogate escape replaced by `\\ufffd`, all else byte for byte.

    JavaScript sends lone surrogates when a string was cut in the middle of an emoji. The
    replacement has the same length, so that offsets in error messages stay true.
    """
    if b"\\" not in body or (b"\\ud" not in body and b"\\uD" not in body):
        return body
    repaired = bytearray(body)
    at = _end_of_fine(body, 0)
    while _LONE.match(body, at):
        repaired[at : at + len(_REPLACEMENT)] = _REPLACEMENT
        at = _end_of_fine(body, at + len(_REPLACEMENT))
    return repaired


def _end_of_fine(body: Body, start: int) -> int:
    fine = _FINE.match(body, start)
    assert fine is not None  # it matches the empty string too
    return fine.end()


def cut_depths(body: Body) -> bytes:
    """The body with null for whatever nests deeper than `DEEPEST_KEPT` levels.

    What remains can be decoded; an event that was cut still nests too deep to be accepted.
    Whether the parts cut off were JSON is not looked at.
    """
    kept: list[Body] = []
    depth = start = 0
    for token in _TOKEN.finditer(body):
        match body[token.start()]:
            case 0x5B | 0x7B:
                before, depth = depth, depth + len(token[0])
                if before <= DEEPEST_KEPT < depth:
                    kept += (body[start : token.start() + DEEPEST_KEPT - before], b"null")
            case 0x5D | 0x7D:
                before, depth = depth, max(0, depth - len(token[0]))
                if depth <= DEEPEST_KEPT < before:
                    start = token.start() + before - DEEPEST_KEPT
    if depth <= DEEPEST_KEPT:
        kept.append(body[start:])
    return b"".join(kept)
