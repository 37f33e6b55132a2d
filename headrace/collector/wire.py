"""The text of HTTP/1.1: the targets of requests, and answers as they are sent."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote_to_bytes

import httptools

CLOSE: Final = b"connection: close\r\n"
GO_AHEAD: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}


def split_target(target: bytes) -> tuple[str, bytes]:
    """Path and query. Raises `ValueError` saying why it has none."""
    return _split_usual(target) if len(target) <= _USUAL_BYTES else _split(target)


def _split(target: bytes) -> tuple[str, bytes]:
    if target[:1] == b"/":
        path, _, query = target.partition(b"?")
    elif target == b"*":  # the server as a whole
        path, query = target, b""
    else:  # as it is sent to a proxy
        try:
            parsed = httptools.parse_url(target)
        except httptools.HttpParserInvalidURLError:
            raise ValueError("the target is no URL") from None
        path, query = parsed.path or b"/", parsed.query or b""
    if b"%" in path:
        path = unquote_to_bytes(path)
    return path.decode(errors="replace"), query


_USUAL_BYTES: Final = 64
"""Of a target; the same few are asked for again and again."""
_split_usual: Final = lru_cache(64)(_split)
