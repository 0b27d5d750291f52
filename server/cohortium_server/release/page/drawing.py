"""The drawings: bars of a column, maps of all pairs, and the map of one pair's cells.

They have no colours of their own but classes, and so follow the page, light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from cohortium_server.release.page.columns import ColumnView, Row
from cohortium_server.release.page.numerals import percent, signed
from cohortium_server.release.page.pairs import Contrast, Pair, TwoColumns
from cohortium_server.release.page.svg import element, picture, text, tile, turned

WIDTH = 340.0  # of a drawing in a card
_STEP = 17.0  # from bar to bar
_ROOM = 30.0  # the least width of a square with a number in it
_NUMBERED = 60  # columns of a map whose squares all have one; it is scrolled where it is wider than the screen


def bars(view: ColumnView) -> Markup:
    """Synthetic shares as bars, noised ones as dots with error bars."""
    scale, bottom = _scale(view.rows), _STEP * len(view.rows) + 4
    drawn = [_tick(scale.place(float(t) / 100), bottom, t) for t in ticks(100 * scale.low, 100 * scale.high)]
    drawn += [_bar(row, scale, _STEP * (k + 0.5) + 2) for k, row in enumerate(view.rows)]
    return picture(WIDTH, bottom + 22, _bars_words(view.column.name, view.rows), *drawn)


@dataclass(frozen=True)
class _Scale:
    """Positions of shares: ``low`` at ``left``, and ``high`` at the right end."""

    left: float
    low: float
    high: float

    @property
    def unit(self) -> float:
        return (WIDTH - self.left - 14) / (self.high - self.low)

    def place(self, share: float) -> float:
        return self.left + (share - self.low) * self.unit


def _scale(rows: Sequence[Row]) -> _Scale:
    low = min(0.0, *(r.measured - r.within for r in rows if r.measured is not None), 0.0)
    high = max(1e-6, *(max(r.synthetic, (r.measured or 0) + r.within) for r in rows))
    return _Scale(12 + 6.2 * min(24, _longest(r.label for r in rows)), low, high)


def _longest(words: Iterable[str]) -> int:
    return max(map(len, words))


def _bar(row: Row, scale: _Scale, middle: float) -> Markup:
    start, length = scale.place(0), max(0.0, scale.place(row.synthetic) - scale.place(0))
    label = text(row.label, scale.left - 7, middle + 3.6, "label end", 24)
    bar = element("rect", x=start, y=middle - 5.5, width=length, height=11.0, class_="bar")
    if row.measured is None:
        return label + bar
    return label + bar + _dot(scale.place(row.measured), row.within * scale.unit, middle)


def _dot(x: float, reach: float, middle: float) -> Markup:
    line = element("path", d=f"M{x - reach:.2f} {middle:.2f}h{2 * reach:.2f}", class_="whisker")
    return line + element("circle", cx=x, cy=middle, r=2.6, class_="dot")


def _tick(x: float, bottom: float, words: str) -> Markup:
    line = element("path", d=f"M{x:.2f} 2V{bottom:.2f}", class_="grid" if float(words) else "zero")
    return line + text(signed(words), x, bottom + 13, "tick mid")


def ticks(low: float, high: float) -> list[str]:
    """Three to five round numbers between ``low`` and ``high``, zero among them, in few digits."""
    raw = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw)
    return [f"{k * step:.10g}" for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _bars_words(name: str, rows: Sequence[Row]) -> str:
    top = max(rows, key=lambda r: r.synthetic)
    words = f"{name}: the largest synthetic share is {percent(top.synthetic)}, {top.label}."
    noised = [(r, r.measured) for r in rows if r.measured is not None]
    if not noised:
        return f"{words} Nothing was measured."
    far, measured = max(noised, key=lambda pair: abs(pair[0].synthetic - pair[1]))
    apart = f"{percent(far.synthetic)} against {percent(measured)} measured"
    return f"{words} The largest difference is {apart}, {far.label}."


def differences_map(names: Sequence[str], pairs: Sequence[Pair]) -> Markup:
    """Below the diagonal the difference that noise does not explain, above it the part that it does, on one scale."""
    values = {(p.columns[1], p.columns[0]): p.beyond for p in pairs} | {p.columns: p.noise for p in pairs}
    top = max(pairs, key=lambda p: p.beyond)
    first, second = (names[j] for j in top.columns)
    words = f"Map of {len(pairs)} pairs. Furthest beyond noise, {percent(top.beyond)}: {first} with {second}."
    return _Map(names, min(1.0, max(0.01, *values.values())), 100, 1).draw(values, words)


def associations_map(names: Sequence[str], known: Mapping[TwoColumns, float]) -> Markup:
    words = f"Map of Cramér's V of {len(known)} pairs of columns in the synthetic rows."
    return _Map(names, 1.0, 1, 2).draw({(j, i): v for (i, j), v in known.items()}, words)


@dataclass(frozen=True)
class _Map:
    """A square of all pairs, the stronger in colour the nearer to ``peak``; numbers in ``1 / unit`` where there is room."""

    names: Sequence[str]
    peak: float
    unit: int
    decimals: int

    @property
    def side(self) -> float:
        """Of one pair's square."""
        least = _ROOM if len(self.names) <= _NUMBERED else 13.0
        return min(44.0, max(least, 760.0 / len(self.names)))

    @property
    def left(self) -> float:
        return 14 + 6.2 * min(20, _longest(self.names))

    @property
    def top(self) -> float:
        return 8 + 0.8 * (self.left - 8)

    def draw(self, values: Mapping[TwoColumns, float], words: str) -> Markup:
        drawn = [self._name(k, name) for k, name in enumerate(self.names)]
        drawn += [self._square(place, value) for place, value in sorted(values.items())]
        extent = len(self.names) * self.side
        return picture(self.left + extent + 76, self.top + extent + 4, words, *drawn, class_="wide")

    def _name(self, k: int, name: str) -> Markup:
        """Beside its row, above its column, and the square where both meet."""
        middle = (k + 0.5) * self.side
        beside = text(name, self.left - 7, self.top + middle + 4, "label end", 20)
        above = turned(name, self.left + middle + 3, self.top - 6, -52, "label", 20)
        corner = (self.left + k * self.side, self.top + k * self.side)
        return beside + above + tile(*corner, self.side, self.side, class_="self")

    def _square(self, place: TwoColumns, value: float) -> Markup:
        row, column = place
        x, y = self.left + column * self.side, self.top + row * self.side
        shown = f"{self.unit * value:.{self.decimals}f}"
        hint = element("title", f"{self.names[row]} and {self.names[column]}: {shown}")
        square = tile(x, y, self.side, self.side, hint, class_="heat", strength=value / self.peak)
        if self.side < _ROOM:
            return square
        class_ = f"value mid{' on' if value > 0.62 * self.peak else ''}"
        return square + text(shown if float(shown) else "0", x + self.side / 2, y + self.side / 2 + 4, class_)


def cells_map(shown: Contrast) -> Markup:
    """A pair's cells: too many synthetic rows, too few, or blank where noise explains the difference."""
    difference, names = shown.difference, shown.names
    rows, columns = difference.shape
    left, foot = (12 + 5.8 * min(19, _longest(c.labels)) for c in shown.cells)
    width, height = (WIDTH - 4 - left) / columns, min(20.0, max(11.0, 240 / rows))
    drawn = _cell_labels(shown, left, width, height)
    peak = float(np.abs(difference).max()) or 1.0
    for (a, b), apart in np.ndenumerate(difference):
        class_, strength = _colour(float(apart), float(shown.within[a, b]), peak)
        drawn.append(tile(left + b * width, a * height, width, height, class_=class_, strength=strength))
    far = int((np.abs(difference) > shown.within).sum())
    words = f"{names[0]} down, {names[1]} across: {far} of {difference.size} cells differ beyond the noise."
    return picture(WIDTH, rows * height + foot, words, *drawn)


def _colour(apart: float, within: float, peak: float) -> tuple[str, float]:
    if abs(apart) <= within:
        return "blank", 1.0
    return "more" if apart > 0 else "less", 0.12 + 0.88 * abs(apart) / peak


def _cell_labels(shown: Contrast, left: float, width: float, height: float) -> list[Markup]:
    """Beside the rows, and upright below the columns."""
    down, across = (c.labels for c in shown.cells)
    drawn = [text(label, left - 6, (a + 0.5) * height + 3.5, "tick end", 19) for a, label in enumerate(down)]
    class_, foot = "tick end" if width >= 10 else "tick end tiny", len(down) * height + 6
    places = ((left + (b + 0.5) * width + 3.5, label) for b, label in enumerate(across))
    return drawn + [turned(label, x, foot, -90, class_, 19) for x, label in places]
