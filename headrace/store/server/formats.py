"""Output formats: which may be asked for, and which can be sent block by block."""

from __future__ import annotations

from typing import Final

_STREAMED_NAMES: Final = """
    TabSeparated TSV TabSeparatedRaw TSVRaw Raw CSV JSONEachRow JSONLines NDJSON
    JSONCompactEachRow JSONStringsEachRow JSONCompactStringsEachRow TSKV RowBinary Native
    Null LineAsString RawBLOB
"""
STREAMED: Final = frozenset(_STREAMED_NAMES.split())
"""The engine writes a stream's blocks as documents of their own. Put together they make one
document only in formats without head, tail and row numbers."""
