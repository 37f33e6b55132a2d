"""Native blocks as clients of a later protocol want them: with a block's info before it, and after
each column's type a byte that says how the column is written.

Owns how far a column reaches. The engine writes blocks of protocol 0 only, which have neither, so
each block is walked column by column, unread but for lengths and counts, and the few bytes are put
in. Clients that ask for a protocol below `FRAMED_FROM` are sent what the engine wrote: the one that
does (clickhouse-connect, 54405, to see whether it may) takes both.

How types are written: `src/DataTypes/Serializations` of ClickHouse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from headrace.store.server.answers import Refusal

FRAMED_FROM: Final = 54454
"""DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION"""

_BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"
"""Field 1: no overflow. Field 2: bucket -1. No more fields."""
_PLAIN: Final = b"\x00"
"""The column has no serialization of its own."""
_OFFSET_BYTES: Final = 8
_KEYS_HERE: Final = 1 << 9
_NULL: Final = 255
"""The discriminator of a row of a Variant that holds nothing."""
_DYNAMIC_V1, _DYNAMIC_V2 = 1, 2
_JSON_V1, _JSON_TEXT, _JSON_V2 = 0, 1, 2
_SHARED: Final = "SharedVariant"
_PART: Final = re.compile(
    r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"|[(),]|[^'`\"(),]+"
)
_NAMED: Final = re.compile(r"(?:`(?:[^`\\]|\\.)*`|[\w.]+)\s+(?=[A-Za-z])")
_JSON_PARAMETER: Final = re.compile(r"\s*(?:max_dynamic_\w+\s*=|SKIP\b)")
_JSON_PATH: Final = re.compile(r"(?:`(?:[^`\\]|\\.)*`|[^`\s]+)\s+")


class _More(Exception):
    """The block is not here whole yet."""


class Framer:
    """Takes what the engine writes, gives whole blocks as the client reads them."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The blocks that are whole by now; raises `Refusal` for a type that cannot be framed."""
        cursor = _Cursor(self._rest + data)
        framed: list[bytes] = []
        while not cursor.is_at_end():
            begun = cursor.at
            try:
                block = list(_framed(cursor))
            except _More:
                cursor.at = begun
                break
            framed += block
        self._rest = cursor.data[cursor.at :]
        return b"".join(framed)


class _Cursor:
    """Where we are in the bytes; every step raises `_More` past their end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def is_at_end(self) -> bool:
        return self.at >= len(self.data)

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.data):
            raise _More

    def take(self, count: int) -> bytes:
        start = self.at
        self.skip(count)
        return self.data[start : self.at]

    def number(self) -> int:
        return int.from_bytes(self.take(_OFFSET_BYTES), "little")

    def varint(self) -> int:
        found = shift = 0
        while True:
            (digit,) = self.take(1)
            found |= (digit & 127) << shift
            if digit < 128:
                return found
            shift += 7

    def text(self) -> str:
        return self.take(self.varint()).decode()

    def skip_texts(self, count: int) -> None:
        """So many strings, one after the other. Runs for each string of a result."""
        data, at = self.data, self.at
        try:
            for _ in range(count):
                length = data[at]
                at += 1
                if length > 127:
                    self.at = at - 1
                    length = self.varint()
                    at = self.at
                at += length
        except IndexError:
            raise _More from None
        self.at = at
        self.skip(0)


class _Column:
    """A column of some type: what comes before its rows, then those."""

    def prefix(self, cursor: _Cursor) -> None:
        """Of most types there is nothing."""

    def rows(self, cursor: _Cursor, count: int) -> None:
        raise NotImplementedError


def _framed(cursor: _Cursor) -> Iterator[bytes]:
    begun = cursor.at
    columns, rows = cursor.varint(), cursor.varint()
    yield _BLOCK_INFO
    yield cursor.data[begun : cursor.at]
    for _ in range(columns):
        begun = cursor.at
        cursor.text()
        kind = cursor.text()
        yield cursor.data[begun : cursor.at] + _PLAIN
        begun = cursor.at
        if rows:
            column = _column(kind)
            column.prefix(cursor)
            column.rows(cursor, rows)
        yield cursor.data[begun : cursor.at]


class _Fixed(_Column):
    def __init__(self, width: int) -> None:
        self._width = width

    def rows(self, cursor: _Cursor, count: int) -> None:
        cursor.skip(self._width * count)


class _Text(_Column):
    def rows(self, cursor: _Cursor, count: int) -> None:
        cursor.skip_texts(count)


class _Nullable(_Column):
    def __init__(self, inner: _Column) -> None:
        self._inner = inner

    def prefix(self, cursor: _Cursor) -> None:
        self._inner.prefix(cursor)

    def rows(self, cursor: _Cursor, count: int) -> None:
        cursor.skip(count)
        self._inner.rows(cursor, count)


class _Array(_Column):
    def __init__(self, inner: _Column) -> None:
        self._inner = inner

    def prefix(self, cursor: _Cursor) -> None:
        self._inner.prefix(cursor)

    def rows(self, cursor: _Cursor, count: int) -> None:
        if count:
            cursor.skip(_OFFSET_BYTES * (count - 1))
            self._inner.rows(cursor, cursor.number())


class _Tuple(_Column):
    def __init__(self, inner: Sequence[_Column]) -> None:
        self._inner = inner

    def prefix(self, cursor: _Cursor) -> None:
        for column in self._inner:
            column.prefix(cursor)

    def rows(self, cursor: _Cursor, count: int) -> None:
        if not self._inner:
            cursor.skip(count)
        for column in self._inner:
            column.rows(cursor, count)


class _LowCardinality(_Column):
    def __init__(self, keys: _Column) -> None:
        self._keys = keys

    def prefix(self, cursor: _Cursor) -> None:
        cursor.number()  # the version

    def rows(self, cursor: _Cursor, count: int) -> None:
        if not count:
            return
        kind = cursor.number()
        if kind & _KEYS_HERE:
            self._keys.rows(cursor, cursor.number())
        cursor.skip(cursor.number() * (1 << (kind & 0xFF)))


class _Variant(_Column):
    """`inner` in the order of their names, which discriminators count."""

    def __init__(self, inner: Sequence[_Column]) -> None:
        self._inner = inner

    def prefix(self, cursor: _Cursor) -> None:
        if cursor.number() != 0:
            raise _unwritten("a Variant in compact form")
        for column in self._inner:
            column.prefix(cursor)

    def rows(self, cursor: _Cursor, count: int) -> None:
        of_row = cursor.take(count)
        for number, column in enumerate(self._inner):
            column.rows(cursor, of_row.count(number))


class _Dynamic(_Column):
    def __init__(self) -> None:
        self._variant = _Variant(())

    def prefix(self, cursor: _Cursor) -> None:
        version = cursor.number()
        if version == _DYNAMIC_V1:
            cursor.varint()  # how many types there may be
        elif version != _DYNAMIC_V2:
            raise _unwritten(f"version {version} of Dynamic")
        kinds = [cursor.text() for _ in range(cursor.varint())]
        columns = {kind: _column(kind) for kind in kinds} | {_SHARED: _Text()}
        self._variant = _Variant([columns[kind] for kind in sorted(columns)])
        self._variant.prefix(cursor)

    def rows(self, cursor: _Cursor, count: int) -> None:
        self._variant.rows(cursor, count)


class _Json(_Column):
    """Typed paths by name, then the dynamic ones as they are listed, then all others together."""

    def __init__(self, typed: Mapping[str, _Column]) -> None:
        self._typed = [typed[path] for path in sorted(typed)]
        self._columns: list[_Column] = []

    def prefix(self, cursor: _Cursor) -> None:
        version = cursor.number()
        if version == _JSON_TEXT:
            self._columns = [_Text()]
            return
        if version == _JSON_V1:
            cursor.varint()  # how many paths there may be
        elif version != _JSON_V2:
            raise _unwritten(f"version {version} of JSON")
        paths = [cursor.text() for _ in range(cursor.varint())]
        dynamic = [_Dynamic() for _ in paths]
        self._columns = [*self._typed, *dynamic, _Array(_Tuple([_Text(), _Text()]))]
        for column in self._columns:
            column.prefix(cursor)

    def rows(self, cursor: _Cursor, count: int) -> None:
        for column in self._columns:
            column.rows(cursor, count)


def _column(kind: str) -> _Column:
    name, arguments = _parse(kind)
    if name in _WIDTHS:
        return _Fixed(_WIDTHS[name])
    if name in _OTHERS:
        return _OTHERS[name](arguments)
    if name.startswith("Interval"):
        return _Fixed(8)
    raise _unwritten(f"the type {name}")


def _parse(kind: str) -> tuple[str, list[str]]:
    """A type's name and what stands between its parentheses, `Array(UInt8)`."""
    name, opened, rest = kind.strip().partition("(")
    return name.strip(), _split(rest.rstrip().removesuffix(")")) if opened else []


def _split(text: str) -> list[str]:
    """Where the commas are that are in no parentheses and no quotes."""
    parts = [""]
    depth = 0
    for piece in _PART.findall(text):
        depth += (piece == "(") - (piece == ")")
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return [part.strip() for part in parts if part.strip()]


def _element(argument: str) -> _Column:
    """Of a Tuple or Nested, whose elements may have names."""
    named = _NAMED.match(argument)
    return _column(argument[named.end() :] if named else argument)


def _tuple(arguments: Sequence[str]) -> _Column:
    return _Tuple([_element(argument) for argument in arguments])


def _low_cardinality(arguments: Sequence[str]) -> _Column:
    name, inner = _parse(arguments[0])
    return _LowCardinality(_column(inner[0] if name == "Nullable" else arguments[0]))


def _decimal(arguments: Sequence[str]) -> _Column:
    digits = int(arguments[0])
    return _Fixed(next(width for most, width in _DECIMALS if digits <= most))


def _json(arguments: Sequence[str]) -> _Column:
    typed: dict[str, _Column] = {}
    for argument in arguments:
        path = _JSON_PATH.match(argument)
        if path is not None and not _JSON_PARAMETER.match(argument):
            typed[path[0].strip().strip("`")] = _column(argument[path.end() :])
    return _Json(typed)


def _geometry(depth: int) -> Callable[[Sequence[str]], _Column]:
    """Points, in arrays of arrays."""

    def make(_: Sequence[str]) -> _Column:
        column: _Column = _Tuple([_Fixed(8), _Fixed(8)])
        for _level in range(depth):
            column = _Array(column)
        return column

    return make


def _unwritten(what: str) -> Refusal:
    return Refusal(
        48,
        "NOT_IMPLEMENTED",
        f"This server cannot send {what} to a client of this protocol; convert it in the query, "
        "by toString or finalizeAggregation, or ask for another format",
    )


_WIDTHS: Final = {
    **dict.fromkeys(("Int8", "UInt8", "Bool", "Enum8", "Nothing"), 1),
    **dict.fromkeys(("Int16", "UInt16", "Enum16", "Date", "BFloat16"), 2),
    **dict.fromkeys(("Int32", "UInt32", "Float32", "Date32", "DateTime", "IPv4", "Time"), 4),
    **dict.fromkeys(("Int64", "UInt64", "Float64", "DateTime64", "Time64"), 8),
    **dict.fromkeys(("Int128", "UInt128", "UUID", "IPv6"), 16),
    **dict.fromkeys(("Int256", "UInt256"), 32),
}
_DECIMALS: Final = ((9, 4), (18, 8), (38, 16), (76, 32))
_OTHERS: Final[Mapping[str, Callable[[Sequence[str]], _Column]]] = {
    "Array": lambda of: _Array(_column(of[0])),
    "Decimal": _decimal,
    "Dynamic": lambda _: _Dynamic(),
    "FixedString": lambda of: _Fixed(int(of[0])),
    "JSON": _json,
    "LineString": _geometry(1),
    "LowCardinality": _low_cardinality,
    "Map": lambda of: _Array(_Tuple([_column(one) for one in of])),
    "MultiLineString": _geometry(2),
    "MultiPolygon": _geometry(3),
    "Nested": lambda of: _Array(_tuple(of)),
    "Nullable": lambda of: _Nullable(_column(of[0])),
    "Point": _geometry(0),
    "Polygon": _geometry(2),
    "Ring": _geometry(1),
    "SimpleAggregateFunction": lambda of: _column(of[1]),
    "String": lambda _: _Text(),
    "Tuple": _tuple,
    "Variant": lambda of: _Variant([_column(kind) for kind in sorted(of)]),
}
