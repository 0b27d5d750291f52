"""Drawings of an evaluation: how far synthetic rows are on the way to real ones, and what attacks found.

What is drawn is as private as the real rows that it was computed from.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from cohortium.evaluation.attacks.findings import Finding, Rate
from cohortium.evaluation.measures import Measure
from cohortium_server.release.page.drawing import ticks
from cohortium_server.release.page.numerals import fixed, percent, signed
from cohortium_server.release.page.svg import element, picture, text

WIDTH = 720.0
_STEP = 20.0
_LEFT, _RIGHT = 300.0, 110.0
_LOW, _HIGH = -0.25, 1.25  # of the way, beyond which a dot stands at the edge


def ways(measures: Sequence[Measure]) -> Markup:
    """A row a measure that has both ends: a dot between independent columns, 0, and other real rows, 1, with its interval."""
    drawn = [m for m in measures if m.way is not None]
    bottom = _STEP * len(drawn) + 4
    lines = [_upright(_place(x), bottom, words) for x, words in ((0.0, "independent columns"), (1.0, "real rows"))]
    rows = [_way(m, _STEP * (k + 0.5) + 2) for k, m in enumerate(drawn)]
    return picture(WIDTH, bottom + 22, _ways_words(drawn), *lines, *rows, class_="wide")


def _place(way: float) -> float:
    inside = min(_HIGH, max(_LOW, way))
    return _LEFT + (inside - _LOW) / (_HIGH - _LOW) * (WIDTH - _LEFT - _RIGHT)


def _upright(x: float, bottom: float, words: str) -> Markup:
    line = element("path", d=f"M{x:.2f} 2V{bottom:.2f}", class_="zero")
    return line + text(words, x, bottom + 14, "tick mid")


def _way(measure: Measure, middle: float) -> Markup:
    label = text(title(measure), _LEFT - 8, middle + 3.6, "label end", 48)
    ends = [_place(_way_of(measure, x)) for x in (measure.synthetic.low, measure.synthetic.high)]
    line = element("path", d=f"M{min(ends):.2f} {middle:.2f}H{max(ends):.2f}", class_="whisker")
    dot = element("circle", cx=_place(measure.way or 0.0), cy=middle, r=3.2, class_="dot")
    return label + line + dot + text(fixed(measure.synthetic.value, 3), WIDTH - _RIGHT + 12, middle + 3.6, "tick")


def _way_of(measure: Measure, value: float) -> float:
    assert measure.floor is not None  # noqa: S101 - only measures with a way are drawn
    assert measure.ceiling is not None  # noqa: S101
    return (value - measure.floor) / (measure.ceiling - measure.floor)


def title(measure: Measure) -> str:
    return f"{measure.of}: {measure.name}" if measure.of else measure.name


def _ways_words(measures: Sequence[Measure]) -> str:
    worst = min(measures, key=lambda m: m.way or 0.0)
    return f"{len(measures)} measures. The least on the way from independent columns to real rows: {title(worst)}."


def ladder(measures: Sequence[Measure]) -> Markup:
    """A row a column or pair: the distance with its interval, and as a mark what other real rows have."""
    most = max(1e-6, *(max(m.synthetic.high, m.ceiling or 0.0) for m in measures))
    bottom = _STEP * len(measures) + 4
    marks = [_mark(float(t) / most, bottom, t) for t in ticks(0.0, most)]
    rows = [_rung(m, most, _STEP * (k + 0.5) + 2) for k, m in enumerate(measures)]
    words = f"{len(measures)} distances. The largest: {measures[0].of}."
    return picture(WIDTH, bottom + 22, words, *marks, *rows, class_="wide")


def _mark(share: float, bottom: float, words: str) -> Markup:
    line = element("path", d=f"M{_at(share):.2f} 2V{bottom:.2f}", class_="grid" if share else "zero")
    return line + text(signed(words), _at(share), bottom + 14, "tick mid")


def _rung(measure: Measure, most: float, middle: float) -> Markup:
    low, value, high = (_at(x / most) for x in (measure.synthetic.low, measure.synthetic.value, measure.synthetic.high))
    label = text(measure.of, _LEFT - 8, middle + 3.6, "label end", 48)
    line = element("path", d=f"M{low:.2f} {middle:.2f}H{high:.2f}", class_="whisker")
    dot = element("circle", cx=value, cy=middle, r=3.2, class_="dot")
    at = _at((measure.ceiling or 0.0) / most)
    ceiling = element("path", d=f"M{at:.2f} {middle - 6:.2f}V{middle + 6:.2f}", class_="curve")
    return (
        label
        + ceiling
        + line
        + dot
        + text(fixed(measure.synthetic.value, 3), WIDTH - _RIGHT + 12, middle + 3.6, "tick")
    )


def risks(findings: Sequence[Finding]) -> Markup:
    """A row an attack: how often it was right about persons who took part and about others, and what the guarantee allows."""
    bottom = _STEP * len(findings) + 4
    marks = [_mark(share, bottom, f"{100 * share:.0f} %") for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    rows = [_risk(f, _STEP * (k + 0.5) + 2) for k, f in enumerate(findings)]
    broken = sum(f.breaks for f in findings)
    words = f"{len(findings)} attacks, {broken} of them beyond what the guarantee allows."
    return picture(WIDTH, bottom + 22, words, *marks, *rows, class_="wide")


def _at(share: float) -> float:
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _risk(finding: Finding, middle: float) -> Markup:
    label = text(named(finding), _LEFT - 8, middle + 3.6, "label end", 48)
    parts = [_rate(finding.others, middle + 3, "curve"), _rate(finding.members, middle - 3, "whisker")]
    if finding.allowed is not None:
        x = _at(finding.allowed)
        parts.append(element("path", d=f"M{x:.2f} {middle - 8:.2f}V{middle + 8:.2f}", class_="level"))
    dot = element("circle", cx=_at(finding.members.share), cy=middle - 3, r=3.0, class_="dot")
    return (
        label
        + Markup("").join(parts)
        + dot
        + text(percent(finding.members.share), WIDTH - _RIGHT + 12, middle + 3.6, "tick")
    )


def _rate(rate: Rate, y: float, class_: str) -> Markup:
    return element("path", d=f"M{_at(rate.low):.2f} {y:.2f}H{_at(rate.high):.2f}", class_=class_)


def named(finding: Finding) -> str:
    return f"{finding.name}, {finding.of}" if finding.of else finding.name
