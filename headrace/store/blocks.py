"""Blocks as they are sent: columns into ClickHouse's Native format, parts into one block.

Owns what the driver has for whole blocks only: a block that is written in parts, each while its
values lie in the processor's cache, and put together as bytes. The values themselves are written
by clickhouse-connect, except where Python itself has a faster way; a block's frame
(https://clickhouse.com/docs/interfaces/formats/Native) is how many columns and rows, and before
each column its name and type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver import options
from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.common import write_leb128
from clickhouse_connect.driver.insert import InsertContext

from headrace.store.errors import translated

Columns = Mapping[str, tuple[str, Sequence[Any]]]
"""Name → (ClickHouse type, values), all of one length."""
Insert = bytes
"""A statement and the block it inserts, as they are sent; empty without rows."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """Some rows of a block: what the format has of each column, in their order."""

    rows: int
    columns: Sequence[tuple[str, str, bytearray]]
    """Name, type, values."""


def pack(table: str, columns: Columns) -> Insert:
    """The insert of one block as it is sent; empty without rows."""
    return join(table, [write(columns)])


def write(columns: Columns) -> Part:
    """The rows as a part of a block; raises what the store would refuse of them."""
    keep_data_frames_out()
    context = InsertContext("", (), ())
    written = []
    rows = 0
    with translated():
        for name, (type_name, values) in columns.items():
            rows, into = len(values), bytearray()
            if rows:
                into += _write_at_once(type_name, values)
                if not into:
                    context.start_column(name)  # which errors name
                    get_from_name(type_name).write_column(values, into, context)
            written.append((name, type_name, into))
    return Part(rows, written)


def join(table: str, parts: Sequence[Part]) -> Insert:
    """The insert of one block of all parts, in their order; empty without rows.

    More than one only of types that hold a value after the other: not `Nullable`.
    """
    parts = [part for part in parts if part.rows]
    if not parts:
        return b""
    first = parts[0].columns
    names = ", ".join([quote_identifier(name) for name, _, _ in first])
    pieces: list[bytes | bytearray] = [f"INSERT INTO {table} ({names}) FORMAT Native\n".encode()]
    pieces += (_number(len(first)), _number(sum(part.rows for part in parts)))
    for at, (name, type_name, _) in enumerate(first):
        assert len(parts) == 1 or not type_name.startswith(_NOT_IN_PARTS)
        pieces += (_text(name), _text(type_name))
        pieces += [part.columns[at][2] for part in parts]
    return b"".join(pieces)


def _write_at_once(type_name: str, values: Sequence[Any]) -> bytes:
    """Flags; texts that are all ASCII and of one length, as ids mostly are: 0.01 and 0.03 µs each
    where the driver takes 0.04 and 0.11. Empty for all others."""
    if type_name == "Bool":
        return bytes(values)
    if type_name != "String" or type(values[0]) is not str:
        return b""
    length = len(values[0])
    if length != len(values[-1]) or length > _ONE_BYTE or set(map(len, values)) != {length}:
        return b""
    mark = chr(length)
    written = mark + mark.join(values)
    return written.encode() if written.isascii() else b""


def keep_data_frames_out() -> None:
    """The driver takes numpy and pandas for missing, unless somebody has used them already.

    chDB brings them along, so the first insert would import them, to see that our lists are no
    data frames: 0.5 s until the first event can be read, and 80 MiB.
    """
    for name in ("np", "pd"):
        vars(options).setdefault(name, None)


_ONE_BYTE: Final = 127
"""The length before a text is one byte up to this."""
_NOT_IN_PARTS: Final = ("Nullable", "LowCardinality", "Array", "Map", "JSON")


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _number(len(encoded)) + encoded


def _number(number: int) -> bytes:
    into = bytearray()
    write_leb128(number, into)
    return bytes(into)
