"""The public report on a release: one HTML file that anybody may read, print and keep.

Only facts come in that are public, noised or synthetic; no real row ever does, so nothing here can leak one.
The file runs no script and loads nothing. Drawings are SVG inside the page and follow its colours, light or
dark. The same facts give the same bytes.

Order of the module: facts and page; what was promised and asked; columns; pairs; drawing; the page's text.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from cohortium.plan import Phase, Plan
from cohortium.privacy.accounting import Gaussian
from cohortium.queries.local_training import LocalTraining
from cohortium.queries.marginals import Marginals
from cohortium.schema import SECONDS, Boolean, Categorical, Column, Continuous, Datetime, Ordinal
from cohortium.study import Study
from cohortium_server.generators import Measured

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Columns = tuple[int, ...]
FALSE_POSITIVES = 0.01  # of the attacker whose success is told
NORMAL_95 = 1.96  # standard deviations either side that hold 95 % of a normal distribution
MOST_BARS = 24  # a column of more cells is drawn in groups
MOST_POINTS = 6
WORST_PAIRS = 6
DROWNED = 0.5  # distance that noise alone would give, from which on a pair cannot be checked
_BLOCK = 1 << 20


class Criterion(Protocol):
    """One criterion of the release gate."""

    @property
    def name(self) -> str: ...
    @property
    def passed(self) -> bool: ...
    @property
    def value(self) -> str: ...
    @property
    def threshold(self) -> str: ...
    @property
    def reason(self) -> str: ...


@dataclass(frozen=True)
class Facts:
    """All that the report knows.

    synthetic: (rows, columns) codes of the released rows. rows_measured: the noised number of real rows.
    provenance: versions, run, digests, in the order in which they are told.
    """

    study: Study
    plan: Plan
    synthetic: npt.NDArray[np.int16]
    measured: tuple[Measured, ...]
    rows_measured: int
    verdict: Sequence[Criterion]
    provenance: Mapping[str, str]

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.study.schema.sizes

    @cached_property
    def holders(self) -> Mapping[Columns, Sequence[Measured]]:
        """The noised tables that hold a column, or a pair."""
        found: defaultdict[Columns, list[Measured]] = defaultdict(list)
        for table in self.measured:
            for order in (1, 2):
                for columns in itertools.combinations(table.columns, order):
                    found[columns].append(table)
        return found


def render_report(facts: Facts) -> str:
    """The report as the text of one HTML file."""
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters.update(percent=_percent, number=_number, small=_small, plural=_plural)
    views = [_column_view(facts, j) for j in range(len(facts.sizes))]
    return page.from_string(_PAGE).render(
        facts=facts,
        study=facts.study,
        privacy=facts.study.privacy,
        cost=facts.plan.cost,
        promise=_promise(facts.study.privacy.epsilon, facts.study.privacy.delta),
        phases=[_phase_view(p, len(facts.study.institutions)) for p in facts.plan.phases],
        columns=views,
        coverage=_coverage(views),
        pairs=_pairs_view(facts, [v.cells for v in views]),
        passed=bool(facts.verdict) and all(c.passed for c in facts.verdict),
    )


# What was promised, and what was asked


@dataclass(frozen=True)
class _Promise:
    """true_positives: the most persons any attacker finds at FALSE_POSITIVES; odds: the largest factor."""

    true_positives: float
    odds: float


def _promise(epsilon: float, delta: float) -> _Promise:
    """The two lines that bound every attacker's errors (Kairouz, Oh, Viswanath 2015, arXiv 1311.0776)."""
    upper = math.exp(epsilon) * FALSE_POSITIVES + delta
    lower = 1 - math.exp(-epsilon) * (1 - delta - FALSE_POSITIVES)
    return _Promise(min(upper, lower, 1.0), math.exp(epsilon))


@dataclass(frozen=True)
class _PhaseView:
    name: str
    asked: str
    rounds: int
    numbers: int
    size: str
    noise: str
    events: Sequence[str]


def _phase_view(phase: Phase, institutions: int) -> _PhaseView:
    return _PhaseView(
        phase.name,
        _asked(phase),
        phase.rounds,
        phase.query.width,
        _bytes(8 * phase.query.width * phase.rounds),
        _noise(phase, institutions),
        [_event(e) for e in phase.events],
    )


def _asked(phase: Phase) -> str:
    match phase.query:
        case Marginals() as query:
            orders = sorted({len(t) for t in query.tables})
            parts = [(sum(len(t) == k for t in query.tables), k) for k in orders]
            return "counts: " + ", ".join(f"{_plural(n, 'table')} of {_plural(k, 'column')}" for n, k in parts)
        case LocalTraining() as query:
            steps = _plural(query.steps, "training step")
            return f"{steps} a round, each on a random {_percent(query.sampling_rate)} of the persons"
        case query:
            return ", ".join(f"{key}: {value}" for key, value in query.describe().items())


def _noise(phase: Phase, institutions: int) -> str:
    query = phase.query
    if isinstance(query, LocalTraining):
        return f"{phase.multiplier:.3g} × the most that one person can move a step's sum"
    if not isinstance(query, Marginals):
        return f"{phase.multiplier:.3g} × the most that one person can change"
    by_order = {len(t): s for t, s in zip(query.tables, query.sigmas(phase.multiplier), strict=True)}
    words = [_noise_words(s, math.sqrt(institutions)) for _, s in sorted(by_order.items())]
    of = [f" (tables of {_plural(k, 'column')})" if len(words) > 1 else "" for k in sorted(by_order)]
    return "; ".join(w + o for w, o in zip(words, of, strict=True))


def _noise_words(sigma: float, growth: float) -> str:
    alone = f"{sigma:.3g} rows in every count of an institution"
    return alone if growth == 1 else f"{alone}, {growth * sigma:.3g} in the sum"


def _event(event: Gaussian) -> str:
    sampled = "" if event.sampling_rate == 1 else f" on random samples of {_percent(event.sampling_rate)}"
    noise = f"noise {event.noise_multiplier:.4g} × sensitivity"
    return f"{_plural(event.count, 'Gaussian answer')}{sampled}, {noise}"


def _plural(count: int, word: str) -> str:
    return f"{_number(count)} {word}" + ("" if count == 1 else "s")


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _percent(share: float) -> str:
    return f"{_minus(100 * share, 1 if abs(share) >= 0.01 else 2)}\u202f%"


def _small(delta: float) -> Markup:
    """A small number as people write it, with a power of ten."""
    digits, _, power = f"{delta:.6e}".partition("e")
    factor = "" if float(digits) == 1 else f"{float(digits):g}\u202f×\u202f"
    return Markup("{}10<sup>{}</sup>").format(factor, _minus(int(power), 0))


def _minus(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    text = text[1:] if float(text) == 0 and text.startswith("-") else text
    return text.replace("-", "\u2212")


# Columns: synthetic shares beside noised ones


@dataclass(frozen=True)
class _Cells:
    """How a column's cells are drawn: a label for every bar, and the bar of every cell."""

    labels: tuple[str, ...]
    bar: IntArray
    note: str

    @property
    def counts(self) -> IntArray:
        """Cells in each bar."""
        return np.bincount(self.bar)

    def grouped(self, values: FloatArray) -> FloatArray:
        """Sums over the cells of each bar, along the first axis."""
        member = self.bar == np.arange(len(self.labels))[:, None]
        total: FloatArray = np.einsum("bc,c...->b...", member, values)
        return total


def _both_grouped(first: _Cells, second: _Cells, values: FloatArray) -> FloatArray:
    """(bars of first, bars of second) sums of a pair's table."""
    return second.grouped(first.grouped(values).T).T


@dataclass(frozen=True)
class _Estimate:
    """Shares of the real rows, each with independent noise of standard deviation ``sd``."""

    shares: FloatArray
    sd: float


@dataclass(frozen=True)
class _Row:
    """A line of a column's table: shares, and how far either way the noise may reach. None: not measured."""

    label: str
    synthetic: float
    measured: float | None = None
    within: float = 0.0


@dataclass(frozen=True)
class _ColumnView:
    column: Column
    kind: str
    cells: _Cells
    rows: Sequence[_Row]
    drawing: Markup
    inside: tuple[int, int]  # cells within their error bar, and all cells with one

    @property
    def measured(self) -> bool:
        return self.inside[1] > 0


def _column_view(facts: Facts, j: int) -> _ColumnView:
    column, shares = facts.study.schema.columns[j], _shares(facts, (j,))
    cells, estimate = _cells(column, shares), _estimate(facts, (j,))
    rows = [_Row(label, share) for label, share in zip(cells.labels, cells.grouped(shares).tolist(), strict=True)]
    inside = (0, 0)
    if estimate is not None:
        noised = cells.grouped(estimate.shares).tolist()
        bars = (NORMAL_95 * estimate.sd * np.sqrt(cells.counts)).tolist()
        rows = [_Row(r.label, r.synthetic, m, w) for r, m, w in zip(rows, noised, bars, strict=True)]
        near = np.abs(shares - estimate.shares) <= NORMAL_95 * estimate.sd
        inside = (int(near.sum()), near.size)
    return _ColumnView(column, _kind(column), cells, rows, _bars(column.name, rows), inside)


def _shares(facts: Facts, columns: Columns) -> FloatArray:
    """The synthetic rows' share of every cell, in the shape of the table of ``columns``."""
    shape = tuple(facts.sizes[j] for j in columns)
    total = np.zeros(math.prod(shape), np.int64)
    for start in range(0, len(facts.synthetic), _BLOCK):
        block = facts.synthetic[start : start + _BLOCK, columns].astype(np.int64)
        total += np.bincount(np.ravel_multi_index(tuple(block.T), shape), minlength=len(total))
    return (total / max(1, len(facts.synthetic))).reshape(shape)


def _estimate(facts: Facts, columns: Columns) -> _Estimate | None:
    """The average, weighted by precision, of what every noised table says about the table of ``columns``."""
    weighted, precision = np.zeros([facts.sizes[j] for j in columns]), 0.0
    for table in facts.holders.get(columns, ()):
        others = tuple(axis for axis, j in enumerate(table.columns) if j not in columns)
        counts = table.counts.sum(axis=others)
        weight = counts.size / (table.counts.size * table.sigma**2)
        weighted, precision = weighted + weight * counts, precision + weight
    if precision == 0:
        return None
    return _Estimate(weighted / precision / facts.rows_measured, 1 / math.sqrt(precision) / facts.rows_measured)


def _coverage(views: Sequence[_ColumnView]) -> tuple[int, int]:
    """Cells of all columns whose synthetic share lies within the error bar, and all cells that have one."""
    return sum(v.inside[0] for v in views), sum(v.inside[1] for v in views)


def _kind(column: Column) -> str:
    parts = [column.kind, column.unit, f"{_number(column.size)} cells", "target" if column.target else ""]
    return ", ".join(p for p in parts if p)


def _cells(column: Column, shares: FloatArray) -> _Cells:
    """At most MOST_BARS bars and some for special cells; the rest of a long list of categories is one bar."""
    ends, bins = _ends(column), _bins(column)
    groups = [[k] for k in range(bins)] if bins <= MOST_BARS else _groups(column, shares, bins)
    note = "" if len(groups) == bins else f"drawn in {len(groups)} bars"
    points = range(bins, column.values)
    groups += [[k] for k in points] if len(points) <= MOST_POINTS else [list(points)]
    labels = [_group_label(column, group, ends) for group in groups]
    if column.nullable:
        groups, labels = [*groups, [column.values]], [*labels, "missing"]
    bar = np.empty(column.size, np.int64)
    for k, group in enumerate(groups):
        bar[group] = k
    return _Cells(tuple(labels), bar, note)


def _bins(column: Column) -> int:
    """Cells that are neither special points nor missing."""
    return column.values - (len(column.points) if isinstance(column, Continuous) else 0)


def _groups(column: Column, shares: FloatArray, bins: int) -> list[list[int]]:
    """Neighbours together where cells have an order; else the largest alone and the others in one."""
    if not isinstance(column, Categorical):
        width = math.ceil(bins / MOST_BARS)  # the same for all bars, or their lengths would mislead
        return [list(range(k, min(k + width, bins))) for k in range(0, bins, width)]
    ranked = np.argsort(-shares[:bins], kind="stable")
    alone, others = np.sort(ranked[: MOST_BARS - 1]), np.sort(ranked[MOST_BARS - 1 :])
    return [*([k] for k in alone.tolist()), others.tolist()]


def _group_label(column: Column, group: Sequence[int], ends: Sequence[tuple[str, str]]) -> str:
    bins = _bins(column)
    if len(group) > 1 and isinstance(column, Categorical):
        return f"{len(group)} other categories"
    if len(group) > 1 and group[0] >= bins:
        return f"{len(group)} special values"
    first, last = ends[group[0]][0], ends[group[-1]][1]
    if group[0] >= bins:
        return f"exactly {first}"
    if isinstance(column, Datetime):
        last = last.removeprefix(first[:11]) if first[:10] == last[:10] != last else last.removeprefix(first[:5])
    return first if ends[group[0]][0] == ends[group[-1]][1] else f"{first} to {last}"


def _ends(column: Column) -> list[tuple[str, str]]:
    """The first and the last value of every cell but the missing one."""
    match column:
        case Boolean():
            return [("false", "false"), ("true", "true")]
        case Categorical() | Ordinal():
            return [(str(c), str(c)) for c in column.categories]
        case Continuous():
            values = [*_spans(column.cuts), *((k, k) for k in column.point_indices.tolist())]
            return [(_grid_number(column, a), _grid_number(column, b)) for a, b in values]
        case Datetime():
            return [(_grid_moment(column, a), _grid_moment(column, b)) for a, b in _spans(column.cuts)]


def _spans(cuts: IntArray) -> Iterator[tuple[int, int]]:
    """First and last grid index of every bin."""
    return ((int(a), int(b) - 1) for a, b in itertools.pairwise(cuts))


def _grid_number(column: Continuous, index: int) -> str:
    return f"{round(column.lower + index / 10**column.decimals, 12):.15g}".replace("-", "\u2212")


def _grid_moment(column: Datetime, index: int) -> str:
    moment = column.lower + timedelta(seconds=index * SECONDS[column.resolution])
    if column.resolution == "day" and not (column.lower.hour or column.lower.minute or column.lower.second):
        return moment.date().isoformat()
    return moment.isoformat(" ", "seconds" if column.resolution == "second" or column.lower.second else "minutes")


# Pairs: differences beyond the noise, or associations of the synthetic rows alone


@dataclass(frozen=True)
class _Pair:
    """difference: total variation distance of synthetic and noised shares. noise: its mean by noise alone."""

    columns: tuple[int, int]
    difference: float
    noise: float

    @property
    def beyond(self) -> float:
        return max(0.0, self.difference - self.noise)


@dataclass(frozen=True)
class _WorstView:
    names: tuple[str, str]
    pair: _Pair
    place: str
    synthetic: float
    measured: float
    within: float
    drawing: Markup


@dataclass(frozen=True)
class _PairsView:
    """Exactly one of ``worst`` and ``associations`` says something, or neither if there is one column."""

    drawing: Markup
    all: int
    measured: int
    difference: float
    noise: float
    drowned: int  # pairs of which the noise leaves nothing to see
    worst: Sequence[_WorstView]
    associations: Sequence[tuple[str, str, float]]


def _pairs_view(facts: Facts, cells: Sequence[_Cells]) -> _PairsView:
    everything = list(itertools.combinations(range(len(facts.sizes)), 2))
    found = [pair for columns in everything if (pair := _pair(facts, columns)) is not None]
    if not found:
        return _associations_view(facts, cells, everything)
    worst = sorted(found, key=lambda p: (-p.beyond, -p.difference, p.columns))[:WORST_PAIRS]
    means = (float(np.mean([p.difference for p in found])), float(np.mean([p.noise for p in found])))
    drowned = sum(p.noise > DROWNED for p in found)
    drawing = _differences_map(facts.study.schema.names, found)
    views = [_worst_view(facts, cells, p) for p in worst]
    return _PairsView(drawing, len(everything), len(found), *means, drowned, views, ())


def _pair(facts: Facts, columns: tuple[int, int]) -> _Pair | None:
    estimate = _estimate(facts, columns)
    if estimate is None:
        return None
    difference = float(np.abs(_shares(facts, columns) - estimate.shares).sum()) / 2
    noise = estimate.shares.size * estimate.sd * math.sqrt(2 / math.pi) / 2
    return _Pair(columns, difference, noise)


def _worst_view(facts: Facts, cells: Sequence[_Cells], pair: _Pair) -> _WorstView:
    """A pair in bars, and the cell of it that is furthest from what was measured, in units of its noise."""
    i, j = pair.columns
    estimate = _estimate(facts, pair.columns)
    assert estimate is not None  # noqa: S101 - a pair was measured, or it would not be here
    tables = (_shares(facts, pair.columns), estimate.shares)
    synthetic, measured = (_both_grouped(cells[i], cells[j], s) for s in tables)
    within = NORMAL_95 * estimate.sd * np.sqrt(np.outer(cells[i].counts, cells[j].counts))
    a, b = np.unravel_index(int(np.argmax(np.abs(synthetic - measured) / within)), within.shape)
    names = (facts.study.schema.names[i], facts.study.schema.names[j])
    place = f"{cells[i].labels[a]} and {cells[j].labels[b]}"
    drawing = _cell_map(names, (cells[i], cells[j]), synthetic - measured, within)
    furthest = (float(synthetic[a, b]), float(measured[a, b]), float(within[a, b]))
    return _WorstView(names, pair, place, *furthest, drawing)


def _associations_view(facts: Facts, cells: Sequence[_Cells], pairs: Sequence[tuple[int, int]]) -> _PairsView:
    names = facts.study.schema.names
    values = {(i, j): _association(facts, cells, (i, j)) for i, j in pairs}
    known = {columns: v for columns, v in values.items() if v is not None}
    strongest = sorted(known, key=lambda columns: (-known[columns], columns))[:WORST_PAIRS]
    rows = [(names[i], names[j], known[i, j]) for i, j in strongest]
    return _PairsView(_associations_map(names, known), len(pairs), 0, 0.0, 0.0, 0, (), rows)


def _association(facts: Facts, cells: Sequence[_Cells], columns: tuple[int, int]) -> float | None:
    """Cramér's V of two columns' bars, corrected for bias (Bergsma 2013); None where one is constant."""
    i, j = columns
    joint = _both_grouped(cells[i], cells[j], _shares(facts, columns))
    joint = joint[joint.sum(axis=1) > 0][:, joint.sum(axis=0) > 0]
    rows, (r, c) = len(facts.synthetic), joint.shape
    if min(r, c) < 2 or rows < 2:
        return None
    expected = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    square = max(0.0, float(((joint - expected) ** 2 / expected).sum()) - (r - 1) * (c - 1) / (rows - 1))
    smaller = min(k - 1 - (k - 1) ** 2 / (rows - 1) for k in (r, c))
    return min(1.0, math.sqrt(square / smaller)) if smaller > 0 else None


# Drawing: SVG elements whose every text and attribute is escaped


def _element(tag: str, *inside: str, **attributes: str | float) -> Markup:
    """<tag attribute="...">inside</tag>; an underscore at a name's end is dropped, others become dashes."""
    told = [
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _coordinate(value))
        for name, value in attributes.items()
    ]
    return Markup("<{0}{1}>{2}</{0}>").format(tag, Markup("").join(told), Markup("").join(inside))


def _coordinate(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def _drawing(width: float, height: float, words: str, *inside: str, class_: str = "fit") -> Markup:
    box = f"0 0 {_coordinate(width)} {_coordinate(height)}"
    size = {"width": width, "height": height}
    return _element("svg", *inside, role="img", aria_label=words, class_=class_, viewBox=box, **size)


def _text(words: str, x: float, y: float, class_: str, most: int = 1000, **attributes: str | float) -> Markup:
    """A text; what is longer than ``most`` characters is cut, and told in full to who points at it."""
    if len(words) <= most:
        return _element("text", words, x=x, y=y, class_=class_, **attributes)
    shown = words[: most - 1].rstrip() + "…"
    return _element("text", shown, _element("title", words), x=x, y=y, class_=class_, **attributes)


def _bars(name: str, rows: Sequence[_Row]) -> Markup:
    """Synthetic shares as bars, noised ones as dots with error bars."""
    width, step, foot = 340.0, 17.0, 22.0
    left = 12 + 6.2 * min(24, max(len(r.label) for r in rows))
    low = min(0.0, *(r.measured - r.within for r in rows if r.measured is not None), 0.0)
    high = max(1e-6, *(max(r.synthetic, (r.measured or 0) + r.within) for r in rows))
    scale = (width - left - 14) / (high - low)
    bottom = step * len(rows) + 4

    def place(share: float) -> float:
        return left + (share - low) * scale

    drawn = [_tick(place(float(t) / 100), bottom, t) for t in _ticks(100 * low, 100 * high)]
    for k, row in enumerate(rows):
        middle = step * (k + 0.5) + 2
        drawn.append(_text(row.label, left - 7, middle + 3.6, "label end", 24))
        drawn.append(_bar(place(0), place(row.synthetic), middle))
        if row.measured is not None:
            drawn.append(_dot(place(row.measured), row.within * scale, middle))
    return _drawing(width, bottom + foot, _bars_words(name, rows), *drawn)


def _bar(start: float, end: float, middle: float) -> Markup:
    return _element("rect", x=start, y=middle - 5.5, width=max(0.0, end - start), height=11.0, class_="bar")


def _dot(x: float, reach: float, middle: float) -> Markup:
    line = _element("path", d=f"M{x - reach:.2f} {middle:.2f}h{2 * reach:.2f}", class_="whisker")
    return line + _element("circle", cx=x, cy=middle, r=2.6, class_="dot")


def _tick(x: float, bottom: float, words: str) -> Markup:
    line = _element("path", d=f"M{x:.2f} 2V{bottom:.2f}", class_="grid" if float(words) else "zero")
    return line + _text(words.replace("-", "\u2212"), x, bottom + 13, "tick mid")


def _ticks(low: float, high: float) -> list[str]:
    """Three to five round numbers between ``low`` and ``high``, zero among them, in few digits."""
    raw = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw)
    return [f"{k * step:.10g}" for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _bars_words(name: str, rows: Sequence[_Row]) -> str:
    top = max(rows, key=lambda r: r.synthetic)
    words = f"{name}: the largest synthetic share is {_percent(top.synthetic)}, {top.label}."
    noised = [r for r in rows if r.measured is not None]
    if not noised:
        return f"{words} Nothing was measured."
    far = max(noised, key=lambda r: abs(r.synthetic - (r.measured or 0)))
    apart = f"{_percent(far.synthetic)} against {_percent(far.measured or 0)} measured"
    return f"{words} The largest difference is {apart}, {far.label}."


def _differences_map(names: Sequence[str], pairs: Sequence[_Pair]) -> Markup:
    """Below the diagonal what noise does not explain, above it what it does, on one scale."""
    values = {(p.columns[1], p.columns[0]): p.beyond for p in pairs} | {p.columns: p.noise for p in pairs}
    top = max(pairs, key=lambda p: p.beyond)
    first, second = (names[j] for j in top.columns)
    words = f"Map of {len(pairs)} pairs. Furthest beyond noise, {_percent(top.beyond)}: {first} with {second}."
    return _matrix(names, values, min(1.0, max(0.01, *values.values())), words, 100, 1)


def _associations_map(names: Sequence[str], known: Mapping[tuple[int, int], float]) -> Markup:
    words = f"Map of Cramér's V of {len(known)} pairs of columns in the synthetic rows."
    return _matrix(names, {(j, i): v for (i, j), v in known.items()}, 1.0, words, 1, 2)


def _matrix(
    names: Sequence[str],
    values: Mapping[tuple[int, int], float],
    peak: float,
    words: str,
    unit: int,
    decimals: int,
) -> Markup:
    """A square of cells, the stronger in colour the larger; numbers, times ``unit``, where there is room."""
    count = len(names)
    cell = min(44.0, max(13.0, 760.0 / count))
    left = 14 + 6.2 * min(20, max(map(len, names)))
    top = 8 + 0.8 * (left - 8)
    drawn = []
    for k, name in enumerate(names):
        middle = (k + 0.5) * cell
        drawn.append(_text(name, left - 7, top + middle + 4, "label end", 20))
        turned = f"translate({left + middle + 3:.2f} {top - 6:.2f}) rotate(-52)"
        drawn.append(_text(name, 0, 0, "label", 20, transform=turned))
        drawn.append(_tile(left + k * cell, top + k * cell, cell, cell, class_="self"))
    for (row, column), value in sorted(values.items()):
        x, y = left + column * cell, top + row * cell
        shown = f"{unit * value:.{decimals}f}"
        hint = _element("title", f"{names[row]} and {names[column]}: {shown}")
        drawn.append(_tile(x, y, cell, cell, hint, class_="heat", strength=value / peak))
        if cell >= 30:
            class_ = f"value mid{' on' if value > 0.62 * peak else ''}"
            drawn.append(_text(shown if float(shown) else "0", x + cell / 2, y + cell / 2 + 4, class_))
    return _drawing(left + count * cell + 76, top + count * cell + 4, words, *drawn, class_="wide")


def _cell_map(
    names: tuple[str, str], cells: tuple[_Cells, _Cells], difference: FloatArray, within: FloatArray
) -> Markup:
    """A pair's cells: too many synthetic rows, too few, or blank where noise explains the difference."""
    rows, columns = difference.shape
    left, foot = (12 + 5.8 * min(19, max(map(len, c.labels))) for c in cells)
    width, height = (336 - left) / columns, min(20.0, max(11.0, 240 / rows))
    drawn = _cell_labels(cells, left, width, height)
    peak = float(np.abs(difference).max()) or 1.0
    for (a, b), apart in np.ndenumerate(difference):
        strength = 0.12 + 0.88 * abs(apart) / peak
        explained = abs(apart) <= within[a, b]
        class_ = "blank" if explained else "more" if apart > 0 else "less"
        place = (left + b * width, a * height, width, height)
        drawn.append(_tile(*place, class_=class_, strength=1.0 if explained else strength))
    far = int((np.abs(difference) > within).sum())
    words = f"{names[0]} down, {names[1]} across: {far} of {difference.size} cells differ beyond the noise."
    return _drawing(340, rows * height + foot, words, *drawn)


def _cell_labels(cells: tuple[_Cells, _Cells], left: float, width: float, height: float) -> list[Markup]:
    """Beside the rows, and upright below the columns."""
    down, across = (c.labels for c in cells)
    drawn = [_text(label, left - 6, (a + 0.5) * height + 3.5, "tick end", 19) for a, label in enumerate(down)]
    class_ = "tick end" if width >= 10 else "tick end tiny"
    for b, label in enumerate(across):
        turned = f"translate({left + (b + 0.5) * width + 3.5:.2f} {len(down) * height + 6:.2f}) rotate(-90)"
        drawn.append(_text(label, 0, 0, class_, 19, transform=turned))
    return drawn


def _tile(x: float, y: float, width: float, height: float, *inside: str, class_: str, strength: float = 1.0) -> Markup:
    place = {"x": x + 0.4, "y": y + 0.4, "width": width - 0.8, "height": height - 0.8}
    return _element("rect", *inside, class_=class_, fill_opacity=min(1.0, strength), **place)


# The page

_STYLE = """
:root { color-scheme: light dark;
  --paper: #fdfdfb; --ink: #1c2430; --soft: #566073; --rule: #d8dce3; --blank: #eef0f3;
  --bar: #9cc9c4; --dot: #a23b00; --heat: #0f5f66; --on: #ffffff; --more: #0f6f78; --less: #b04a06;
  --good: #14613a; --bad: #a11616; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #12161c; --ink: #e7eaf0; --soft: #a3adbd; --rule: #343c48; --blank: #242b35;
  --bar: #2a6f74; --dot: #ffb169; --heat: #63d2cf; --on: #06282a; --more: #5ccfd0; --less: #ff9d57;
  --good: #7ad8a4; --bad: #ff9a92; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 17px/1.55 Charter, "Bitstream Charter", "Source Serif 4", Cambria, Georgia, serif; }
main, header, footer { max-width: 1100px; margin: 0 auto; padding: 0 28px; }
header { padding-top: 44px; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 12px; top: 12px; background: var(--paper); padding: 6px 10px; }
.kicker, nav, table, figcaption, dl, .legend, svg, summary, .note { font-family: system-ui, -apple-system,
  "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.kicker { margin: 0; font-size: 13px; letter-spacing: .04em; color: var(--soft); }
h1 { margin: 4px 0 8px; font-size: 40px; line-height: 1.12; font-weight: 600; letter-spacing: -.01em;
  overflow-wrap: anywhere; }
h2 { margin: 60px 0 12px; padding-top: 14px; border-top: 2px solid var(--ink); font-size: 26px;
  line-height: 1.2; font-weight: 600; }
h3 { margin: 30px 0 8px; font-size: 19px; line-height: 1.3; font-weight: 600; overflow-wrap: anywhere; }
p, ul { max-width: 68ch; margin: 0 0 14px; }
ul { padding-left: 1.15em; }
li { margin-bottom: 5px; }
.lead { font-size: 20px; line-height: 1.45; overflow-wrap: anywhere; }
sup { line-height: 0; }
a { color: inherit; text-decoration-color: var(--soft); text-underline-offset: 3px; }
a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 3px solid var(--dot);
  outline-offset: 2px; }
nav { font-size: 14px; margin: 18px 0 0; }
nav a { margin-right: 18px; white-space: nowrap; line-height: 2; }
.glance { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 20px 24px;
  margin: 28px 0 0; padding: 18px 0; border-top: 1px solid var(--rule);
  border-bottom: 1px solid var(--rule); }
.glance div { display: flex; flex-direction: column-reverse; justify-content: flex-end; }
dt { font-size: 13px; line-height: 1.35; color: var(--soft); }
dd { margin: 0; font-size: 25px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 0 44px; }
.notice { border-left: 4px solid var(--dot); padding: 2px 0 2px 16px; margin: 20px 0; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: 14px; line-height: 1.4; font-variant-numeric: tabular-nums;
  margin: 6px 0 16px; }
table.broad { min-width: 860px; }
caption { text-align: left; color: var(--soft); padding-bottom: 6px; }
th, td { text-align: left; vertical-align: top; padding: 7px 18px 7px 0;
  border-bottom: 1px solid var(--rule); }
th { font-weight: 600; }
thead th { border-bottom: 1px solid var(--ink); }
td.n, th.n { text-align: right; white-space: nowrap; }
table.facts td { overflow-wrap: anywhere; }
code { font: .88em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.good { color: var(--good); font-weight: 600; white-space: nowrap; }
.bad { color: var(--bad); font-weight: 600; white-space: nowrap; }
.note { font-size: 14px; line-height: 1.5; color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: 6px 26px; align-items: center; font-size: 14px;
  margin: 4px 0 16px; }
.legend svg { vertical-align: -4px; margin-right: 7px; }
.cards { columns: 320px; column-gap: 30px; }
figure { margin: 0; }
.cards figure { break-inside: avoid; padding: 0 0 18px; }
figcaption { font-size: 13px; line-height: 1.4; color: var(--soft); margin-bottom: 5px; }
figcaption b { display: block; font-size: 16px; color: var(--ink); overflow-wrap: anywhere; }
details { font-size: 13px; }
summary { cursor: pointer; color: var(--soft); padding: 4px 0; }
details table { font-size: 12.5px; }
details th, details td { padding: 3px 12px 3px 0; font-weight: 400; }
svg { display: block; }
svg.fit { width: 100%; height: auto; max-width: 420px; }
svg.wide { max-width: none; }
.legend svg { display: inline-block; }
svg text { fill: var(--ink); font-size: 11px; font-variant-numeric: tabular-nums; }
svg .tick { font-size: 10px; fill: var(--soft); }
svg .tiny { font-size: 7.5px; }
svg .end { text-anchor: end; } svg .mid { text-anchor: middle; }
svg .value { pointer-events: none; paint-order: stroke; stroke: var(--paper); stroke-width: 2px; }
svg .on { fill: var(--on); stroke: var(--heat); }
.bar { fill: var(--bar); } .dot { fill: var(--dot); } .whisker { stroke: var(--dot); stroke-width: 1.5; }
.grid { stroke: var(--rule); stroke-width: 1; } .zero { stroke: var(--soft); stroke-width: 1; }
.heat { fill: var(--heat); } .self { fill: var(--blank); } .blank { fill: var(--blank); }
.more { fill: var(--more); } .less { fill: var(--less); }
footer { padding-bottom: 60px; }
@media (max-width: 560px) {
  main, header, footer { padding: 0 16px; }
  header { padding-top: 24px; }
  body { font-size: 16px; }
  h1 { font-size: 31px; } h2 { margin-top: 44px; } .lead { font-size: 18px; }
  .glance { grid-template-columns: 1fr 1fr; } dd { font-size: 22px; }
}
@media print {
  @page { margin: 16mm; }
  :root { color-scheme: light;
    --paper: #fff; --ink: #000; --soft: #444; --rule: #bbb; --blank: #eee;
    --bar: #9cc9c4; --dot: #a23b00; --heat: #0f5f66; --on: #fff; --more: #0f6f78; --less: #b04a06;
    --good: #14613a; --bad: #a11616; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 11pt; }
  nav, .skip, details { display: none; }
  h2, h3 { break-after: avoid; }
  tr, figure { break-inside: avoid; }
  .scroll { overflow: visible; } table.broad { min-width: 0; }
  svg.wide { max-width: 100%; height: auto; }
}
"""

_PAGE = (
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ study.name }}: report on a synthetic table</title>
<style>"""
    + _STYLE
    + """</style>
</head>
{% macro heads(names, numbers=()) %}
<thead><tr>
{% for name in names %}
<th scope="col"{{ ' class="n"' | safe if name in numbers }}>{{ name }}</th>
{% endfor %}
</tr></thead>
{% endmacro %}
{% macro row(name, cells, numbers=()) %}
<tr><th scope="row">{{ name }}</th>
{% for cell in cells %}
<td{{ ' class="n"' | safe if loop.index in numbers }}>{{ cell }}</td>
{% endfor %}
</tr>
{% endmacro %}
{% macro verdict(passed) %}
{% if passed %}<span class="good">✓ passed</span>{% else %}<span class="bad">✗ failed</span>{% endif %}
{% endmacro %}
{% macro swatch(class) %}
<svg width="14" height="14"><rect class="{{ class }}" width="14" height="14"/></svg>
{%- endmacro %}
<body>
<a class="skip" href="#main">Skip to the report</a>
<header>
<p class="kicker">Public report on a synthetic table</p>
<h1>{{ study.name }}</h1>
{% if study.purpose %}
<p class="lead">{{ study.purpose }}</p>
{% endif %}
<nav aria-label="Contents">
<a href="#budget">Privacy</a> <a href="#columns">Columns</a> <a href="#pairs">Pairs</a>
<a href="#gate">Release gate</a> <a href="#provenance">Provenance</a>
</nav>
<dl class="glance">
<div><dt>synthetic rows</dt><dd>{{ facts.synthetic | length | number }}</dd></div>
<div><dt>real rows, counted with noise</dt><dd>≈ {{ facts.rows_measured | number }}</dd></div>
<div><dt>columns</dt><dd>{{ columns | length }}</dd></div>
<div><dt>institutions</dt><dd>{{ study.institutions | length }}</dd></div>
<div><dt>epsilon, per person</dt><dd>{{ "%g" | format(privacy.epsilon) }}</dd></div>
<div><dt>release gate</dt><dd>{{ verdict(passed) }}</dd></div>
</dl>
</header>
<main id="main">
<div class="two">
<section aria-labelledby="is"><h3 id="is">What this table is</h3>
<ul>
<li>Synthetic. A generator of the kind “{{ study.generator.kind }}” drew every row from noised
statistics.</li>
<li>Differentially private: the promise below holds for every person, whatever else is known about them.</li>
<li>Made for developing and testing. How near it is to the real tables, as far as that can be told without
them, is shown below.</li>
</ul></section>
<section aria-labelledby="isnot"><h3 id="isnot">What it is not</h3>
<ul>
<li>Not records. No row was copied from anybody's, though a row may by chance resemble one.</li>
<li>Not exact. Rare values and rare combinations are the least reliable. Confirm findings on the real
tables.</li>
<li>Not free of what is true of people in general: what holds for many can still be learnt from it.</li>
</ul></section>
</div>
<p class="notice"><strong>Differentially private is not the same as anonymous by law.</strong> Have the
guarantee judged for your purpose and your jurisdiction.</p>

<h2 id="budget">What it costs in privacy</h2>
<div class="two"><div>
<p>The promise, to every person: with or without their rows in the tables, whatever was sent and released has
probabilities that differ by at most the factor e<sup>ε</sup> = {{ "%.3g" | format(promise.odds) }}, apart
from a chance of δ = {{ privacy.delta | small }}. Here ε (epsilon) is {{ "%g" | format(privacy.epsilon) }}.
Two sets of tables are compared that differ by adding or removing one person.</p>
<p>What that means: suppose somebody knows all about everybody else and tests whether one given person took
part. If they are to be wrong about at most 1 in 100 persons who did not take part, they find at most
<strong>{{ promise.true_positives | percent }}</strong> of those who did. A blind guess finds 1\u202f%.
Put in odds: whatever they believed before, what they see changes the odds by at most the factor
{{ "%.3g" | format(promise.odds) }}, apart from the chance δ.</p>
</div><div>
<ul>
<li>A person counts with at most {{ privacy.rows_per_person | plural("row") }} at an institution.
{% if privacy.rows_per_person > 1 %}
Further rows were left out at random, inside the institution.
{% endif %}
</li>
{% if privacy.institutions_per_person < study.institutions | length %}
<li>The promise covers persons who are in the tables of at most {{ privacy.institutions_per_person }} of the
{{ study.institutions | length }} institutions. For a person in more of them it is weaker.</li>
{% else %}
<li>The promise covers persons whichever of the study's institutions they are in.</li>
{% endif %}
{% if privacy.trust == "local" %}
<li>Each institution added the full noise before anything left it, so the promise holds towards the
coordinator too.</li>
{% endif %}
<li>Other studies on the same people add to this cost. Each institution's ledger keeps the sum.</li>
</ul>
<table><caption>The cost of all answers together, computed in two ways. The first is the claim; the second, a
looser bound, may not contradict it.</caption>
{{ heads(["accountant", "epsilon", "at delta"], ["epsilon"]) }}
<tbody>
{{ row(cost.method, ["%.4f" | format(cost.epsilon), cost.delta | small], [1]) }}
{{ row(cost.check_method ~ " (check)", ["%.4f" | format(cost.check), cost.delta | small], [1]) }}
{{ row("promised at most", ["%.4f" | format(privacy.epsilon), privacy.delta | small], [1]) }}
</tbody></table>
</div></div>
<p class="note" id="phases">What was asked of each institution, phase by phase. Only these noised whole
numbers left it.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Phases">
<table class="broad" aria-describedby="phases">
{{ heads(["phase", "asked", "rounds", "numbers a round", "sent in all", "noise (standard deviation)",
"privacy events"], ["rounds", "numbers a round", "sent in all"]) }}
<tbody>
{% for p in phases %}
{{ row(p.name, [p.asked, p.rounds | number, p.numbers | number, p.size, p.noise, p.events | join("; ")],
[2, 3, 4]) }}
{% endfor %}
</tbody></table></div>

<h2 id="columns">Single columns</h2>
<p>Bars are the released synthetic rows. Dots are what the institutions measured together, with noise. The
line through a dot reaches 1.96 standard deviations of that noise either way, so it holds the real share in
about 95 of 100 cases. Noise can push a dot below zero.</p>
{% if coverage[1] %}
<p>The synthetic share lies within that line for <strong>{{ coverage[0] | number }} of
{{ coverage[1] | number }} cells</strong> ({{ (coverage[0] / coverage[1]) | percent }}). If the synthetic
shares were the real ones, about 95\u202f% would.</p>
{% endif %}
<div class="legend" aria-hidden="true">
<span>{{ swatch("bar") }}synthetic, % of rows</span>
<span><svg width="30" height="12"><path class="whisker" d="M0 6h30"/>
<circle class="dot" cx="15" cy="6" r="2.6"/></svg>measured with noise, ±1.96 standard deviations</span>
</div>
<div class="cards">
{% for c in columns %}
<figure>
<figcaption><b>{{ c.column.name }}</b>{{ [c.kind, c.cells.note] | select | join("; ") }}
{% if c.column.description %}
<br>{{ c.column.description }}
{% endif %}
{% if not c.measured %}
<br>Not measured by itself: the bars are synthetic only.
{% endif %}
</figcaption>
{{ c.drawing }}
<details><summary>Numbers of {{ c.column.name }}</summary>
<table>
{% if c.measured %}
{{ heads(["cell", "synthetic", "measured", "±"], ["synthetic", "measured", "±"]) }}
{% else %}
{{ heads(["cell", "synthetic"], ["synthetic"]) }}
{% endif %}
<tbody>
{% for r in c.rows if c.measured %}
{{ row(r.label, [r.synthetic | percent, r.measured | percent, r.within | percent], [1, 2, 3]) }}
{% else %}
{% for r in c.rows %}
{{ row(r.label, [r.synthetic | percent], [1]) }}
{% endfor %}
{% endfor %}
</tbody></table></details>
</figure>
{% endfor %}
</div>

<h2 id="pairs">Pairs of columns</h2>
{% if pairs.measured %}
<p>For each pair, the difference is the total variation distance between the synthetic table and the noised
one: the share of rows one would have to move to make them equal. Noise alone makes two equal tables differ.
So each difference stands beside what noise alone would give on average, and what is left after subtracting
that is <em>beyond noise</em>.</p>
<p>On average over {{ pairs.measured | number }} of {{ pairs.all | plural("pair") }} the difference is
<strong>{{ pairs.difference | percent }}</strong>; noise alone would give {{ pairs.noise | percent }}. Two
limits: differences much smaller than the noise cannot be seen here, and the generator was fitted to these
same noised tables, so a small value does not prove that the real tables are as near.</p>
{% if pairs.drowned %}
<p>For <strong>{{ pairs.drowned | plural("pair") }} noise alone would give more than 50\u202f%</strong>:
too many cells for this many rows and this much noise, so this check says nothing there. Noised counts may be
negative, so a distance may pass 100\u202f%.</p>
{% endif %}
<figure>
<figcaption><b>Below the diagonal: beyond noise. Above it: what noise alone would give.</b>
Total variation distance in %, one colour scale for both.
{% if columns | length > 25 %}
Point at a square for its value.
{% endif %}
{% if pairs.measured < pairs.all %}
Pairs without a square were not measured.
{% endif %}
</figcaption>
<div class="scroll" tabindex="0" role="region" aria-label="Map of pairs">{{ pairs.drawing }}</div>
</figure>
<h3>Furthest beyond noise</h3>
<p class="note" id="worst">The cell named is the one that differs most for its noise.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Worst pairs">
<table class="broad" aria-describedby="worst">
{{ heads(["pair", "difference", "from noise", "beyond noise", "cell", "synthetic", "measured"],
["difference", "from noise", "beyond noise", "synthetic", "measured"]) }}
<tbody>
{% for w in pairs.worst %}
{{ row(w.names | join(" and "), [w.pair.difference | percent, w.pair.noise | percent, w.pair.beyond | percent,
w.place, w.synthetic | percent, [w.measured | percent, w.within | percent] | join(" ± ")], [1, 2, 3, 5, 6]) }}
{% endfor %}
</tbody></table></div>
<div class="legend" aria-hidden="true">
<span>{{ swatch("more") }}more synthetic rows than measured</span>
<span>{{ swatch("less") }}fewer</span>
<span>{{ swatch("blank") }}within ±1.96 standard deviations of the noise</span>
</div>
<div class="cards">
{% for w in pairs.worst %}
<figure>
<figcaption><b>{{ w.names | join(" and ") }}</b>{{ w.names[0] }} downwards, {{ w.names[1] }} across. The
stronger the colour, the more rows.</figcaption>
{{ w.drawing }}
</figure>
{% endfor %}
</div>
{% elif columns | length < 2 %}
<p>The table has one column, and so no pairs.</p>
{% else %}
<p>This generator asked for no pairs of columns, so nothing measured tells how the real pairs look. The map
shows the <strong>synthetic rows only</strong>: how strongly two columns go together in them, as Cramér's V
from 0 (not at all) to 1 (one tells the other), corrected for chance. Whether the real columns do the same, it
cannot say.</p>
<figure>
<figcaption><b>Associations in the synthetic rows (not compared with anything real)</b>
Cramér's V. Columns of many cells are taken in the bars drawn above.
{% if columns | length > 25 %}
Point at a square for its value.
{% endif %}
</figcaption>
<div class="scroll" tabindex="0" role="region" aria-label="Map of associations">{{ pairs.drawing }}</div>
</figure>
<table><caption>The strongest associations in the synthetic rows.</caption>
{{ heads(["pair", "Cramér's V"], ["Cramér's V"]) }}
<tbody>
{% for first, second, v in pairs.associations %}
{{ row([first, second] | join(" and "), ["%.2f" | format(v)], [1]) }}
{% endfor %}
</tbody></table>
{% endif %}

<h2 id="gate">Release gate</h2>
{% if facts.verdict %}
<p>{{ "Every criterion was met." if passed else "Some criteria were not met." }}
The gate looks at the plan, the noised tables and the synthetic rows, never at a real row.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Verdict of the release gate">
<table class="broad">
{{ heads(["criterion", "verdict", "found", "wanted", "why"]) }}
<tbody>
{% for c in facts.verdict %}
{{ row(c.name, [verdict(c.passed), c.value, c.threshold, c.reason]) }}
{% endfor %}
</tbody></table></div>
{% else %}
<p>No criterion was judged, and so the gate was not passed.</p>
{% endif %}

<h2 id="provenance">Provenance</h2>
<p>Anybody who has the release folder can check, without a network, that no file of it was changed since it
was signed:</p>
<p><code>cohortium verify RELEASE</code></p>
<p class="note">The check covers this report too. Add <code>--key</code> with the coordinator's public key,
received by another way, to check who signed.</p>
<table class="facts"><caption>What this release was made from, and with.</caption>
<tbody>
{{ row("study", [study.name ~ ", version " ~ study.serial]) }}
{% if study.expires %}
{{ row("agreed until", [study.expires.isoformat()]) }}
{% endif %}
{% if study.digest not in facts.provenance.values() %}
{{ row("study digest", [study.digest]) }}
{% endif %}
{% for name, value in facts.provenance.items() %}
{{ row(name, [value]) }}
{% endfor %}
{{ row("institutions", [study.institution_names | join(", ")]) }}
</tbody></table>
</main>
<footer><p class="note">This file holds no real record: only what is public, noised or synthetic. It runs no
script and loads nothing.</p></footer>
</body>
</html>
"""
)
