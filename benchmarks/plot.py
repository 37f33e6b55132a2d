"""Small SVG pictures: a panel for each measured thing, in it a bar for each run, oldest first.

Owns how a picture looks, in light and dark; what is in it is said by `report.py`. The colours are
written twice, not as variables, since not every viewer knows those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

import msgspec

WIDTH: Final = 800
COLUMNS: Final = 2
MARGIN: Final = 20
HEAD: Final = 66
PANEL_WIDTH: Final = (WIDTH - MARGIN * (COLUMNS + 1)) // COLUMNS
PANEL_HEIGHT: Final = 142
BARS_FROM: Final = 56
BARS_HEIGHT: Final = 56
WIDEST_SLOT: Final = 48.0
TITLE_CHARACTERS: Final = 54
STYLE: Final = """
text { font-family: system-ui, sans-serif; font-size: 12px; fill: #1f1f1d }
.name { font-size: 15px; font-weight: 600 } .what { font-weight: 600 }
.faint { fill: #62625d; font-size: 11px } .missed { fill: #a83c00 }
.page { fill: #fcfcfa } .result { fill: #2a74cf } .pale { fill-opacity: .45 }
line { stroke-width: 1 } .floor { stroke: #c9c9c3 }
.ceiling { stroke: #3d3d39; stroke-width: 2 }
.goal { stroke: #c04a05; stroke-width: 1.5; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
text { fill: #efeeea } .faint { fill: #a9a8a1 } .missed { fill: #f59a5c }
.page { fill: #1a1a19 } .result { fill: #4a90e2 } .floor { stroke: #4b4b47 }
.ceiling { stroke: #d4d3cd } .goal { stroke: #f0853c }
}
"""


class Bar(msgspec.Struct, frozen=True):
    """One run: figures of one unit. `is_pale`: not to be compared with the latest run."""

    result: float
    ceiling: float | None = None
    goal: float | None = None
    note: str = ""
    is_pale: bool = False


class Panel(msgspec.Struct, frozen=True):
    """One measured thing. `latest` and `aside` are lines of text above its bars."""

    what: str
    latest: str
    aside: str
    bars: Sequence[Bar]
    is_missed: bool = False


def draw(name: str, about: str, panels: Sequence[Panel]) -> str:
    """The SVG of all panels under a title and a line about them."""
    height = HEAD + PANEL_HEIGHT * -(-len(panels) // COLUMNS) + MARGIN // 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(name)}</title><style>{STYLE}</style>",
        _rect("page", 0, 0, WIDTH, height),
        _text(MARGIN, 26, name, "name"),
        _text(MARGIN, 46, about, "faint"),
        *_legend(),
    ]
    for number, panel in enumerate(panels):
        x = MARGIN + number % COLUMNS * (PANEL_WIDTH + MARGIN)
        y = HEAD + number // COLUMNS * PANEL_HEIGHT
        parts += [f'<g transform="translate({x} {y})">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def _legend() -> Iterator[str]:
    for number, kind in enumerate(("result", "ceiling", "goal")):
        x = WIDTH - MARGIN - 85 * (3 - number)
        yield _rect(kind, x, 18, 16, 8) if kind == "result" else _line(kind, x, x + 20, 22)
        yield _text(x + 25, 26, kind, "faint")


def _panel(panel: Panel) -> Iterator[str]:
    yield _text(0, 14, panel.what[:TITLE_CHARACTERS], "what")
    yield _text(0, 31, panel.latest)
    yield _text(0, 46, panel.aside, "faint missed" if panel.is_missed else "faint")
    top = max(max(bar.result, bar.ceiling or 0, bar.goal or 0) for bar in panel.bars) or 1.0
    slot = min(WIDEST_SLOT, PANEL_WIDTH / len(panel.bars))
    floor = BARS_FROM + BARS_HEIGHT
    for number, bar in enumerate(panel.bars):
        yield f"<g><title>{escape(bar.note)}</title>"
        yield from _bar(bar, number * slot, slot, BARS_HEIGHT / top)
        yield "</g>"
    yield _line("floor", 0, PANEL_WIDTH, floor)
    for number in sorted({1, len(panel.bars)}):
        yield _text((number - 0.6) * slot, floor + 14, str(number), "faint")


def _bar(bar: Bar, x: float, slot: float, scale: float) -> Iterator[str]:
    floor, height = BARS_FROM + BARS_HEIGHT, max(bar.result * scale, 1.0)
    kind = "result pale" if bar.is_pale else "result"
    yield _rect(kind, x + slot * 0.2, floor - height, slot * 0.6, height)
    for name, figure, inset in (("ceiling", bar.ceiling, 0.08), ("goal", bar.goal, 0.0)):
        if figure is not None:
            at, width = x + slot * inset, slot * (1 - 2 * inset)
            yield _line(name, at, at + width, floor - figure * scale)


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    size = f'width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" {size}/>'


def _line(kind: str, x: float, to: float, y: float) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{to:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _text(x: float, y: float, said: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(said)}</text>'
