"""`headrace query --chart`: small results as bars and sparklines."""

from __future__ import annotations

import pytest

from headrace.runtime.querying.charts import CannotDraw, Column, draw

TEXT, COUNT, DAY = Column("event", "String"), Column("n", "UInt64"), Column("day", "Date")


@pytest.mark.parametrize(
    ("columns", "rows", "lines"),
    [
        (
            [TEXT, COUNT],
            [["app_opened", "80"], ["signup", "20"], ["none", "0"], ["one", "1"]],
            ["app_opened 80 " + "█" * 14, "signup     20 ███▌", "none        0", "one         1 ▏"],
        ),
        ([COUNT, TEXT], [["4", "a"], ["1", "b"]], ["a 4 " + "█" * 24, "b 1 " + "█" * 6]),
        (
            [Column("step", "UInt8"), COUNT],
            [["1", "2"], ["2", "1"]],
            ["1 2 " + "█" * 24, "2 1 " + "█" * 12],
        ),
        (
            [TEXT, Column("change", "Nullable(Decimal(9, 2))")],
            [["up", "10"], ["down", "-10"], ["none", None]],
            ["up    10          │█████████", "down -10 █████████│", "none              │"],
        ),
        ([TEXT, COUNT], [["é" * 50, "1"]], ["é" * 39 + "… 1 " + "█" * 10]),
        (
            [TEXT, COUNT],
            [["日本", "1"], ["abc", "1"]],
            ["日本 1 " + "█" * 21, "abc  1 " + "█" * 21],
        ),
        (
            [DAY, COUNT],
            [["2026-03-01", "0"], ["2026-03-02", "7"], ["2026-03-03", "3"]],
            ["2026-03-01 ▁█▄", "from 0 (2026-03-01) to 7 (2026-03-02)"],
        ),
        (
            [COUNT, Column("at", "DateTime64(6, 'UTC')")],
            [["5", "a"], ["5", "b"]],
            ["a ██", "from 5 (a) to 5 (a)"],
        ),
        (
            [Column("x", "Nullable(Float64)")],
            [["-1"], ["0.5"], [None], ["nan"], ["1"]],
            ["1 ▁▇  █", "from -1 (1) to 1 (5)"],
        ),
        ([Column("x", "Nullable(Int8)")], [[None], [None]], ["1   ", "no value"]),
        ([COUNT], [], []),
    ],
)
def test_a_picture_is_drawn(
    columns: list[Column], rows: list[list[str | None]], lines: list[str]
) -> None:
    """Bars for labels, a sparkline for a number over time or alone; zero is always in it."""
    assert list(draw(columns, rows, width=28)) == lines


def test_a_long_series_takes_several_lines() -> None:
    """Each begins with the label of its first point."""
    rows: list[list[str | None]] = [[str(each)] for each in range(30)]
    lines = list(draw([COUNT], rows, width=23))
    assert [line[:3] for line in lines[:2]] == ["1  ", "21 "]
    assert [len(line) for line in lines[:2]] == [23, 13]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([TEXT], "needs one column of numbers.* this result has event String"),
        ([TEXT, DAY], "needs one column of numbers"),
        ([TEXT, COUNT, COUNT], "this result has event String, n UInt64, n UInt64"),
        ([Column("gap", "IntervalDay")], "needs one column of numbers"),
    ],
)
def test_what_cannot_be_drawn_is_told(columns: list[Column], message: str) -> None:
    """With what it needs, and what there is."""
    with pytest.raises(CannotDraw, match=message):
        list(draw(columns, [["1"] * len(columns)], width=28))
