"""Output formats: which people may ask for, and which can be sent block by block."""

from __future__ import annotations

from typing import Final

_STREAMED_NAMES: Final = """
    TabSeparated TSV TabSeparatedRaw TSVRaw Raw CSV JSONEachRow JSONLines JSONL NDJSON
    JSONCompactEachRow JSONStringsEachRow JSONCompactStringsEachRow TSKV RowBinary Native
    Null LineAsString RawBLOB
"""
_STREAMED: Final = frozenset(_STREAMED_NAMES.lower().split())
"""The engine writes a stream's blocks as documents of their own. Put together they make one
document only in formats without head, tail and row numbers."""

_WHOLE_NAMES: Final = """
    Arrow ArrowStream Avro BSONEachRow CSVWithNames CSVWithNamesAndTypes GeoJSON JSON JSONColumns
    JSONColumnsWithMetadata JSONCompact JSONCompactColumns JSONCompactEachRowWithNames
    JSONCompactEachRowWithNamesAndTypes JSONCompactStrings JSONCompactStringsEachRowWithNames
    JSONCompactStringsEachRowWithNamesAndTypes JSONObjectEachRow JSONStrings
    LineAsStringWithNames LineAsStringWithNamesAndTypes MD Markdown MsgPack Npy ORC Parquet Pretty
    PrettyCompact PrettyCompactMonoBlock PrettyCompactNoEscapes PrettyCompactNoEscapesMonoBlock
    PrettyJSONEachRow PrettyJSONLines PrettyMonoBlock PrettyNDJSON PrettyNoEscapes
    PrettyNoEscapesMonoBlock PrettySpace PrettySpaceMonoBlock PrettySpaceNoEscapes
    PrettySpaceNoEscapesMonoBlock Prometheus RawWithNames RawWithNamesAndTypes RowBinaryWithNames
    RowBinaryWithNamesAndTypes SQLInsert TSVRawWithNames TSVRawWithNamesAndTypes TSVWithNames
    TSVWithNamesAndTypes TabSeparatedRawWithNames TabSeparatedRawWithNamesAndTypes
    TabSeparatedWithNames TabSeparatedWithNamesAndTypes Values Vertical XML
"""
_PERMITTED: Final = _STREAMED | frozenset(_WHOLE_NAMES.lower().split())


def is_permitted(name: str) -> bool:
    """Whether people may ask for it: it needs no schema file and tells nothing of progress."""
    return name.lower() in _PERMITTED


def is_streamed(name: str) -> bool:
    return name.lower() in _STREAMED
