"""Drawings of training curves: one line for each, and its reference level as a dashed line."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from cohortium_server.generators import Curve
from cohortium_server.release.page.drawing import WIDTH, ticks
from cohortium_server.release.page.numerals import plural, signed
from cohortium_server.release.page.svg import element, picture, text

HEIGHT = 150.0  # of the field of the line
MOST_DRAWN = 400  # of a line; of more values neighbours are averaged
_LEFT, _TOP, _RIGHT = 52.0, 10.0, 12.0


def drawable(curve: Curve) -> Curve | None:
    """The curve with its finite values and level alone; None where no value is left."""
    values = tuple(v for v in curve.values if math.isfinite(v))
    level = curve.level if curve.level is not None and math.isfinite(curve.level) else None
    return replace(curve, values=values, level=level) if values else None


def chart(curve: Curve) -> Markup:
    """A curve that is ``drawable``, its values from left to right."""
    scale, bottom, words = _scale(curve), _TOP + HEIGHT, curve_words(curve)
    drawn = [element("title", curve.name), element("desc", words)]
    drawn += [_tick(scale.height(float(t)), t) for t in ticks(scale.low, scale.high)]
    drawn += [text(n, x, bottom + 14, f"tick {side}") for n, x, side in _ends(len(curve.values))]
    if curve.level is not None:
        drawn.append(
            element("path", d=f"M{_LEFT:.2f} {scale.height(curve.level):.2f}H{WIDTH - _RIGHT:.2f}", class_="level")
        )
    return picture(WIDTH, bottom + 20, words, *drawn, _line(curve, scale))


def curve_words(curve: Curve) -> str:
    """A description of the drawing, for those who cannot see it."""
    first, last, least, most = (
        _in_words(v) for v in (curve.values[0], curve.values[-1], min(curve.values), max(curve.values))
    )
    span = f"{curve.name}: {plural(len(curve.values), 'value')}, the first {first}, the last {last}, from {least} to {most}."
    return span if curve.level is None else f"{span} To compare with: {_in_words(curve.level)}."


def _in_words(value: float) -> str:
    return signed(f"{value:.3g}")


@dataclass(frozen=True)
class _Scale:
    """The values at the bottom and at the top."""

    low: float
    high: float

    def height(self, value: float) -> float:
        return _TOP + HEIGHT * (self.high - value) / (self.high - self.low)


def _scale(curve: Curve) -> _Scale:
    """From zero, so that a curve's changes look as large as they are."""
    everything = (0.0, *curve.values, *(() if curve.level is None else (curve.level,)))
    low, high = min(everything), max(everything)
    return _Scale(low, high if high > low else low + 1.0)


def _tick(y: float, words: str) -> Markup:
    line = element("path", d=f"M{_LEFT:.2f} {y:.2f}H{WIDTH - _RIGHT:.2f}", class_="grid" if float(words) else "zero")
    return line + text(signed(words), _LEFT - 6, y + 3.5, "tick end")


def _ends(count: int) -> list[tuple[str, float, str]]:
    """The numbers of the first and of the last value, where these are, and how they are aligned."""
    first = ("1", _LEFT, "mid")
    return [first] if count == 1 else [first, (f"{count}", WIDTH - _RIGHT, "end")]


def _line(curve: Curve, scale: _Scale) -> Markup:
    """Stretches of values are drawn as their mean, at their middle; a single value as a dot."""
    values = np.array(curve.values)
    if len(values) == 1:
        return element("circle", cx=_LEFT, cy=scale.height(float(values[0])), r=2.6, class_="dot")
    stretches = np.array_split(np.arange(len(values)), min(len(values), MOST_DRAWN))
    unit = (WIDTH - _RIGHT - _LEFT) / (len(values) - 1)
    points = ((_LEFT + unit * float(s.mean()), scale.height(float(values[s].mean()))) for s in stretches)
    return element("path", d="M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points), class_="curve")
