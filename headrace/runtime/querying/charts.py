"""A small result as a picture in text: bars for labels, a sparkline for a series.

Owns what can be drawn and how; pure. Values come as the store's text, with the types it names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from rich.cells import cell_len, set_cell_size

from headrace.schemas.errors import HeadraceError

MOST_ROWS: Final = 200
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_LEVELS: Final = "▁▂▃▄▅▆▇█"
_NUMBER: Final = re.compile(r"U?Int\d|B?Float\d|Decimal")
_TIMES: Final = ("Date", "Time")
_WRAPPERS: Final = ("Nullable(", "LowCardinality(")
_LONGEST_LABEL: Final = 40
_SHORTEST_BAR: Final = 10


class CannotDraw(HeadraceError):
    """The result is not one that a chart can show; the message says what it needs."""


class Column(msgspec.Struct, frozen=True):
    """A column's name and its type, as the store writes it."""

    name: str
    kind: str

    @property
    def is_number(self) -> bool:
        return _NUMBER.match(_inner(self.kind)) is not None

    @property
    def is_time(self) -> bool:
        return _inner(self.kind).startswith(_TIMES)


def check_columns(columns: Sequence[Column]) -> None:
    """Raises `CannotDraw` for what is neither a number nor a label beside a number."""
    numbers = [column for column in columns if column.is_number]
    if len(columns) > 2 or not numbers:
        found = ", ".join(f"{column.name} {column.kind}" for column in columns)
        raise CannotDraw(
            "a chart needs one column of numbers, alone or beside one of labels or times; this "
            f"result has {found}"
        )


def check_count(rows: int) -> None:
    """Raises `CannotDraw` for more rows than a picture can show."""
    if rows > MOST_ROWS:
        raise CannotDraw(
            f"a chart shows up to {MOST_ROWS} rows; this result has more: add LIMIT {MOST_ROWS}, "
            "or group by something coarser"
        )


def draw(
    columns: Sequence[Column], rows: Sequence[Sequence[str | None]], width: int
) -> Iterator[str]:
    """The lines of the picture, at most `width` cells wide. None is NULL.

    A number alone, or beside a time, is a sparkline in the order of the rows; beside anything
    else each row is a bar. Of two numbers the first is the label. Raises `CannotDraw`.
    """
    check_columns(columns)
    check_count(len(rows))
    if not rows:
        return
    which = len(columns) - 1 if columns[-1].is_number else 0
    texts = [row[which] for row in rows]
    values = [_number(text) for text in texts]
    if len(columns) == 1:
        yield from _sparkline(values, texts, [str(1 + each) for each in range(len(rows))], width)
        return
    labels = [row[1 - which] or "" for row in rows]
    if columns[1 - which].is_time:
        yield from _sparkline(values, texts, labels, width)
    else:
        yield from _bars(values, ["" if text is None else text for text in texts], labels, width)


def _sparkline(
    values: Sequence[float | None],
    texts: Sequence[str | None],
    labels: Sequence[str],
    width: int,
) -> Iterator[str]:
    """As many lines as it needs, each with the label of its first point; then the extremes."""
    known = [value for value in values if value is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    margin = max(map(cell_len, labels))
    room = max(width - margin - 1, _SHORTEST_BAR)
    for begin in range(0, len(values), room):
        points = "".join(_level(value, low, high) for value in values[begin : begin + room])
        yield f"{set_cell_size(labels[begin], margin)} {points}"
    if not known:
        yield "no value"
        return
    least, most = (values.index(choose(known)) for choose in (min, max))
    yield f"from {texts[least]} ({labels[least]}) to {texts[most]} ({labels[most]})"


def _level(value: float | None, low: float, high: float) -> str:
    """A block between the lowest and the highest, zero among them; a space for no value."""
    if value is None:
        return " "
    share = (value - low) / (high - low) if high > low else 0.0
    return _LEVELS[min(int(share * len(_LEVELS)), len(_LEVELS) - 1)]


def _bars(
    values: Sequence[float | None], texts: Sequence[str], labels: Sequence[str], width: int
) -> Iterator[str]:
    """A line each: label, number, bar; negative ones to the left of the line they share."""
    known = [value for value in values if value is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    margin = min(max(map(cell_len, labels)), _LONGEST_LABEL)
    digits = max(map(cell_len, texts))
    room = max(width - margin - digits - (3 if low < 0 else 2), _SHORTEST_BAR)
    left = round(room * -low / (high - low)) if high > low else 0
    for value, text, label in zip(values, texts, labels, strict=True):
        part = _right(value, high, room - left) if value is None or value >= 0 else ""
        below = _left(value, low, left) if value is not None and value < 0 else ""
        axis = f"{below:>{left}}│" if left else ""
        yield f"{_shortened(label, margin)} {text:>{digits}} {axis}{part}".rstrip()


def _right(value: float | None, high: float, room: int) -> str:
    if not value or not high:
        return ""
    eighths = max(round(value / high * room * 8), 1)
    return _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _left(value: float, low: float, room: int) -> str:
    return _EIGHTHS[8] * max(round(value / low * room), 1)


def _shortened(label: str, margin: int) -> str:
    if cell_len(label) > margin:
        return set_cell_size(label, margin - 1) + "…"
    return set_cell_size(label, margin)


def _number(text: str | None) -> float | None:
    """None for NULL, and for what has no place on a scale."""
    value = None if text is None else float(text)
    return None if value is None or not math.isfinite(value) else value


def _inner(kind: str) -> str:
    for wrapper in _WRAPPERS * 2:
        kind = kind.removeprefix(wrapper)
    return kind
