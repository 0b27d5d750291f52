"""Curves of a measure over epsilon or over the number of institutions, with bars over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from cohortium_server.release.page.drawing import ticks
from cohortium_server.release.page.numerals import signed
from cohortium_server.release.page.svg import element, picture, text

WIDTH, HEIGHT = 760.0, 260.0
_LEFT, _RIGHT, _TOP = 56.0, 300.0, 12.0
_APART = 13.0  # between names at the right


@dataclass(frozen=True)
class Point:
    """error: half of an interval over seeds."""

    x: float
    y: float
    error: float


@dataclass(frozen=True)
class Curve:
    """Points by x; or a level, where a measure does not depend on it."""

    name: str
    points: tuple[Point, ...]
    level: float | None = None

    @property
    def last(self) -> float:
        return self.points[-1].y if self.points else self.level or 0.0


@dataclass(frozen=True)
class _Scale:
    """Logarithmic across."""

    left: float
    right: float
    low: float
    high: float

    def x(self, value: float) -> float:
        length = math.log(self.right / self.left)
        share = math.log(value / self.left) / length if length else 0.5
        return _LEFT + 10 + share * (WIDTH - _LEFT - _RIGHT - 20)

    def y(self, value: float) -> float:
        return _TOP + HEIGHT * (self.high - value) / (self.high - self.low)


def chart(curves: Sequence[Curve], axis: str, measure: str) -> Markup:
    """All curves in one field, each named where it ends."""
    scale, bottom = _scale(curves), _TOP + HEIGHT
    drawn = [_tick(scale, float(t), t) for t in ticks(scale.low, scale.high) if scale.low <= float(t) <= scale.high]
    drawn += [_mark(scale.x(x), bottom, f"{x:g}") for x in sorted({p.x for c in curves for p in c.points})]
    drawn.append(text(axis, (_LEFT + WIDTH - _RIGHT) / 2, bottom + 30, "tick mid"))
    heights = _names(curves, scale)
    drawn += [_drawn(curve, scale, height, k) for k, (curve, height) in enumerate(zip(curves, heights, strict=True))]
    words = f"{measure} over {axis}: {len(curves)} curves and levels."
    return picture(WIDTH, max(bottom + 36, *heights), words, *drawn, class_="wide")


def _scale(curves: Sequence[Curve]) -> _Scale:
    xs = [p.x for c in curves for p in c.points] or [1.0]
    ends = [v for c in curves for p in c.points for v in (p.y - p.error, p.y + p.error)]
    ends += [c.level for c in curves if c.level is not None]
    low, high = min(ends), max(ends)
    room = 0.05 * (high - low) or 0.05
    return _Scale(min(xs), max(xs), low - room, high + room)


def _names(curves: Sequence[Curve], scale: _Scale) -> list[float]:
    """Heights of the curves' names: near their ends, and apart."""
    order = sorted(range(len(curves)), key=lambda k: scale.y(curves[k].last))
    found, above = [0.0] * len(curves), -math.inf
    for k in order:
        found[k] = above = max(scale.y(curves[k].last) + 3.5, above + _APART)
    return found


def _tick(scale: _Scale, value: float, words: str) -> Markup:
    y = scale.y(value)
    line = element("path", d=f"M{_LEFT:.2f} {y:.2f}H{WIDTH - _RIGHT:.2f}", class_="grid")
    return line + text(signed(words), _LEFT - 6, y + 3.5, "tick end")


def _mark(x: float, bottom: float, words: str) -> Markup:
    return element("path", d=f"M{x:.2f} {bottom:.2f}v4", class_="zero") + text(words, x, bottom + 15, "tick mid")


def _drawn(curve: Curve, scale: _Scale, height: float, number: int) -> Markup:
    name = text(curve.name, WIDTH - _RIGHT + 16, height, "label", 50)
    join = f"M{WIDTH - _RIGHT:.2f} {scale.y(curve.last):.2f}L{WIDTH - _RIGHT + 13:.2f} {height - 3.5:.2f}"
    leader = element("path", d=join, class_="grid")
    if curve.level is not None:
        line = element("path", d=f"M{_LEFT:.2f} {scale.y(curve.level):.2f}H{WIDTH - _RIGHT:.2f}", class_="level")
        return leader + line + name
    class_ = f"line c{number % 6}"
    points = sorted(curve.points, key=lambda p: p.x)
    path = " ".join(f"{'M' if not k else 'L'}{scale.x(p.x):.2f} {scale.y(p.y):.2f}" for k, p in enumerate(points))
    end = f"M{scale.x(points[-1].x):.2f} {scale.y(points[-1].y):.2f}H{WIDTH - _RIGHT:.2f}"
    drawn = [leader, element("path", d=end, class_="grid"), element("path", d=path, class_=class_)]
    return Markup("").join([*drawn, *(_point(p, scale, number) for p in points), name])


def _point(point: Point, scale: _Scale, number: int) -> Markup:
    x, low, high = scale.x(point.x), scale.y(point.y - point.error), scale.y(point.y + point.error)
    bar = element("path", d=f"M{x:.2f} {low:.2f}V{high:.2f}", class_=f"line c{number % 6}")
    return bar + element("circle", cx=x, cy=scale.y(point.y), r=3.0, class_=f"mark c{number % 6}")
