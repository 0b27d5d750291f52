"""Answers with errors: counts, shares and means of the real table, from a release alone, each with an interval.

Answers are about all institutions' rows together, as the study counts them (a limited number of each person).
The estimate is the model's, corrected by the noised tables where these are more precise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from statistics import NormalDist
from typing import Literal

import numpy as np
import pandas as pd

from cohortium.data.binning import ordered_cells
from cohortium.data.columns.dequantization import on_scale
from cohortium.data.conditions.parsing import Where, position, selected
from cohortium.data.conditions.selection import Selection
from cohortium.data.schema import Schema
from cohortium.errors import ReleaseError
from cohortium.study.study import Study
from cohortium.system.progress import Progress, Silent
from cohortium_server.generators import Generator, Tensors
from cohortium_server.generators.counted import CountedGenerator
from cohortium_server.release.answers import laws, questions, stored
from cohortium_server.release.answers.bounds import BELIEVED
from cohortium_server.release.answers.errors import SCALES, Law, Model, learnt
from cohortium_server.release.answers.noised import Noised
from cohortium_server.release.answers.products import FloatArray, Products, Units, Weights
from cohortium_server.release.answers.rehearsal import rehearsed, units
from cohortium_server.release.answers.values import all_numbers, has_numbers, numbers, own_mean

Kind = Literal["count", "share", "mean"]
Table = Callable[[], pd.DataFrame]
MOST_COLUMNS = 3
SURE = 0.5  # a mean is answered where half its count's interval is at most this part of the count
REHEARSALS = 2
EXACT = 2.0  # the noised counts alone are used if their variance is at most this many times the model's
MODEL, NOISED, BOTH = "the model", "the noised counts", "the model and the noised counts"
RELEASED = "the released rows and the noised counts"
AS_MANY = 0.9  # released rows per counted row, from which on their mean is no more random than the counts


@dataclass(frozen=True)
class Answer:
    """An estimate, and the interval that holds the real value with a chance of ``level``. how: what it rests on.

    In rows (persons, where those weigh the same) for a count, between 0 and 1 for a share, in the column's unit for a mean.

    >>> import cohortium
    >>> share = cohortium.load_release("release").query({"result": "positive"}, kind="share")
    >>> 0 <= share.low <= share.estimate <= share.high <= 1, share.level
    (True, 0.95)
    """

    estimate: float
    low: float
    high: float
    level: float
    how: str


@dataclass(frozen=True)
class _Estimate:
    """A sum's estimate and variance. heavy: the part of the variance whose tails are those of the model's errors.

    below, above: variance on one side only, for example where a count cannot be negative.
    """

    sum: float
    variance: float
    heavy: float
    how: str
    below: float = 0.0
    above: float = 0.0

    def sides(self) -> tuple[_Estimate, _Estimate]:
        """The same, with each side's variance including the part that both share."""
        both = replace(self, below=0.0, above=0.0)
        return both.blurred(self.below), both.blurred(self.above)

    def blurred(self, variance: float) -> _Estimate:
        total = self.variance + variance
        return replace(self, variance=total, heavy=self.heavy * self.variance / max(total, 1e-300))

    def half(self, level: float, tails: FloatArray) -> float:
        """Half the interval's width: a quantile of a scale mixture of normal distributions."""
        scales = 1 + self.heavy * (SCALES / (tails @ SCALES) - 1)
        low, high = 0.0, 60.0
        while high - low > 1e-6:
            middle = (low + high) / 2
            inside = sum(p * math.erf(middle / math.sqrt(2 * s)) for p, s in zip(tails, scales, strict=True))
            low, high = (middle, high) if inside < level else (low, middle)
        return high * math.sqrt(self.variance)


@dataclass(frozen=True)
class Answers:
    """Answers from a release. alone: answer by the noised tables only, at once, without learning the model's errors.

    released: gives its synthetic table; means then agree with it unless the noised tables contradict it.
    known: the laws of these errors, where the release has them.
    """

    schema: Schema
    generator: Generator
    noised: Noised
    alone: bool = False
    released: Table | None = None
    known: laws.Learnt | None = None
    progress: Progress = field(default_factory=Silent, compare=False)

    @classmethod
    def of(cls, study: Study, generator: Generator, alone: bool = False, released: Table | None = None) -> Answers:
        """From a fitted generator."""
        return cls(study.schema, generator, Noised(study.schema.sizes, generator.measured), alone, released)

    @classmethod
    def read(
        cls,
        schema: Schema,
        generator: Generator,
        tensors: Tensors,
        released: Table | None = None,
        progress: Progress | None = None,
    ) -> Answers:
        noised, known = stored.read(schema.sizes, tensors)
        return cls(schema, generator, noised, released=released, known=known, progress=progress or Silent())

    def tensors(self, learn: bool = False) -> Tensors:
        """learn: include the laws of the model's errors, which takes the time of two fits."""
        return {**stored.tensors(self.noised), **(laws.tensors(self.errors) if learn else {})}

    @cached_property
    def errors(self) -> tuple[Mapping[str, Law], FloatArray]:
        """The laws of the model's errors and of their tails, computed on first use; no laws for a kind that is not rehearsed.

        The rehearsal's seed follows from the noised counts, so that a question has one answer.
        """
        generator, columns = self.generator, self.schema.columns
        if self.known is not None and not self.alone:
            return self.known
        if self.alone or not isinstance(generator, CountedGenerator):
            return {}, (SCALES == 1).astype(np.float64)
        counts = np.concatenate([t.counts.ravel() for t in self.noised.tables]).astype(np.float32)
        rng = np.random.default_rng(list(sha256(counts.tobytes()).digest()))
        seeds = rng.integers(2**32, size=REHEARSALS).tolist()
        self.progress.start(REHEARSALS, "estimating the errors of answers")
        rehearsals = rehearsed(generator, self.noised, seeds, self.progress)
        self.progress.advance(REHEARSALS)
        self.progress.done()
        values = [self.model.folded(j, all_numbers(c)) if has_numbers(c) else None for j, c in enumerate(columns)]
        return learnt(self.model, self.noised, rehearsals, questions.drawn(self.schema, self.noised, values, rng))

    @cached_property
    def units(self) -> Units:
        return units(self.generator, self.schema.sizes, 0)

    @cached_property
    def model(self) -> Model:
        columns = range(len(self.schema.columns))
        singles = [self.units.profile(j, {}) for j in columns]
        return Model(self.units, self.noised.rows, singles, [self.noised.merged(j) for j in columns])

    def answer(self, where: Where, of: str | None = None, kind: Kind | None = None, level: float = 0.95) -> Answer:
        """As ``Release.query``."""
        chosen, j = selected(self.schema, where), None if of is None else position(self.schema, of)
        kind = kind or ("count" if j is None else "mean")
        _check(kind, j, level)
        if len({*chosen, *([] if j is None else [j])}) > MOST_COLUMNS:
            raise _refused("question", "it is about more than three columns", "Ask about fewer.")
        if kind == "mean":
            assert j is not None  # noqa: S101 - checked above
            return self._mean(chosen, j, level)
        estimate, rows = self._count(chosen, level), self.noised.rows
        whole = 1.0 if kind == "count" else float(rows)
        most = math.inf if kind == "count" else 1.0
        return _answer(estimate.sum / whole, self._halves(estimate, level, whole), (0.0, most), level, estimate.how)

    def _count(self, chosen: Mapping[int, Selection], level: float) -> _Estimate:
        """The number of rows that meet the conditions."""
        weights = {j: s.weights(self.schema.columns[j]) for j, s in chosen.items()}
        return self._estimate(weights, level).blurred(sum(self._cut(weights, j) for j in weights))

    def _mean(self, chosen: Mapping[int, Selection], j: int, level: float) -> Answer:
        """By linearisation: the sum of the values' deviations from the model's mean, divided by the count.

        For a column by itself the mean is that of the released rows, unless noised sums contradict it: then the nearest value
        that they allow. Where too few rows were released, the model's mean is used instead.
        """
        column = self.schema.columns[j]
        selection = replace(chosen.get(j, Selection(on_scale(column))), missing=False)
        count = self._count({**chosen, j: selection}, level)
        value, weights = numbers(column, selection), {k: s.weights(self.schema.columns[k]) for k, s in chosen.items()}
        part = selection.weights(column)
        shares = self.units.profile(j, {k: w for k, w in weights.items() if k != j}) * part
        inside = part > 0
        bounds = float((value.mean - value.reach)[inside].min()), float((value.mean + value.reach)[inside].max())
        if max(self._halves(count, level)) > SURE * count.sum or not shares.sum() > 0:
            middle = sum(bounds) / 2
            return Answer(middle, *bounds, level, "the column's bounds: too few rows for an estimate")
        mean = float(shares @ value.mean / shares.sum())
        away = part * (value.mean - mean)
        by_itself = set(chosen) <= {j}
        whole = self._known(j, part) if by_itself else count.sum
        alone = self._alone(j, selection, (mean, whole), away, level) if by_itself else None
        estimate = alone or self._estimate({**weights, j: away}, level)
        own = (shares * value.reach * self.noised.rows) ** 2 / 3  # the mean in a cell may lie anywhere in it
        cut = self._cut(weights, j, value.mean - mean) if j in weights else 0.0
        estimate = estimate.blurred(float(own.sum()) + cut)
        halves = self._halves(estimate, level, whole)
        answer = _answer(mean + estimate.sum / whole, halves, bounds, level, estimate.how)
        cut_off = not alone and (answer.low == bounds[0] or answer.high == bounds[1])
        # then the model is better: no count is negative
        return replace(answer, estimate=min(answer.high, max(answer.low, mean))) if cut_off else answer

    def _alone(
        self, j: int, selection: Selection, model: tuple[float, float], away: FloatArray, level: float
    ) -> _Estimate | None:
        """A column's sum of deviations from the model's mean. away: of each cell. model: the mean, and the number of values."""
        table = self.released() if self.released else pd.DataFrame()
        own = None
        if len(table) >= AS_MANY * self.noised.rows:
            own = own_mean(self.schema.columns[j], table[self.schema.names[j]], selection)
        mean, count = model
        estimate = self._bounded(j, away, level, 0.0 if own is None else count * (own - mean))
        return estimate if estimate is None or own is None else replace(estimate, how=RELEASED)

    def _known(self, j: int, part: FloatArray) -> float:
        """How many rows have a value: the model's number, which all tables inform, unless noised sums contradict it."""
        expected = self.noised.rows * self.model.singles[j]
        if (counts := self.noised.counts(j)) is None:
            return float(part @ expected)
        least, most = sorted(counts.between(part, expected, BELIEVED))
        return max(1.0, min(most, max(least, float(part @ expected))))

    def _bounded(self, j: int, weights: FloatArray, level: float, proposed: float = 0.0) -> _Estimate | None:
        """The estimate of a sum that the model expects to be zero over one column; None where its cells were not counted by themselves.

        proposed: the estimate to use unless noised sums contradict it.
        """
        if (counts := self.noised.counts(j)) is None:
            return None
        expected, deviations = self.noised.rows * self.model.singles[j], _deviations(level)
        expected = counts.there(expected, ordered_cells(self.schema.columns[j]))
        least, most = sorted(counts.between(weights, expected, BELIEVED))
        proposed = min(most, max(least, proposed))
        low, high = counts.between(weights, expected, deviations)
        below, above = (max(0.0, side / deviations) ** 2 for side in (proposed - low, high - proposed))
        return _Estimate(proposed, 0.0, 0.0, BOTH, below, above)

    def _halves(self, estimate: _Estimate, level: float, whole: float = 1.0) -> tuple[float, float]:
        """How far the interval reaches below and above, in parts of ``whole``."""
        below, above = (self._half(side, level) / whole for side in estimate.sides())
        return below, above

    def _half(self, estimate: _Estimate, level: float) -> float:
        return estimate.half(level, self.errors[1] if estimate.heavy else (SCALES == 1).astype(np.float64))

    def _cut(self, weights: Weights, j: int, by: FloatArray | float = 1.0) -> float:
        """The variance from cells of column ``j`` that are selected only in part p: p (1 - p) / 3 for each."""
        part = weights[j]
        if not ((part > 0) & (part < 1)).any():
            return 0.0
        rows = self.noised.rows * self.units.profile(j, {k: w for k, w in weights.items() if k != j})
        return float(((rows * by) ** 2 * part * (1 - part) / 3).sum())

    def _estimate(self, weights: Weights, level: float) -> _Estimate:
        """A sum over the rows of a product of weights; columns whose cells all weigh 1 do not matter."""
        used = {j: w for j, w in sorted(weights.items()) if (w != 1).any()}
        if not used:
            return _Estimate(self.noised.rows, self.noised.rows_variance, 0.0, NOISED)
        scale = {j: float(np.abs(w).max()) for j, w in used.items()}
        if not all(scale.values()):
            return _Estimate(0.0, 0.0, 0.0, MODEL)
        used, whole = {j: w / scale[j] for j, w in used.items()}, math.prod(scale.values())
        estimate = self._one(used) if len(used) == 1 else self._several(used, level)
        variance, below, above = (v * whole**2 for v in (estimate.variance, estimate.below, estimate.above))
        return replace(estimate, sum=estimate.sum * whole, variance=variance, below=below, above=above)

    def _one(self, weights: Weights) -> _Estimate:
        (estimate,), (s,) = (x.tolist() for x in self.noised.sums(_products(weights)))
        return _Estimate(estimate, s, 0.0, NOISED) if math.isfinite(s) else self._combined(_products(weights))

    def _several(self, weights: Weights, level: float) -> _Estimate:
        """The sum over merged cells, and the part that differs within them."""
        merged = {j: self.model.folded(j, w) for j, w in weights.items()}
        estimate = self._combined(_products(merged))
        for j, w in weights.items():
            if (away := w - merged[j]).any():
                others = {k: (merged if k < j else weights)[k] for k in weights if k != j}
                estimate = self._within(estimate, j, away, others, level)
        return estimate

    def _within(self, estimate: _Estimate, j: int, away: FloatArray, others: Weights, level: float) -> _Estimate:
        """With the sum of what weighs ``away`` from the mean of its merged cell.

        Were the other columns independent of the place in a merged cell, it would follow from the column's fine counts, but for
        sampling. They are so independent as they are between neighbouring cells: their mean weight may go up
        or down by half of what it differs there; among cells without an order, by what it differs among all.
        """
        n, p, cells = self.noised.rows, self.model.singles[j] + 1e-12, self.model.merged[j]
        mass = np.bincount(cells, p).astype(np.float64)
        lift = np.bincount(cells, self.units.profile(j, others)) / mass
        more = self._bounded(j, away * lift[cells], level) or self._one({j: away * lift[cells]})
        spread = np.bincount(cells, p * away**2)  # over the rows, of a share each
        squares = self.units.profile(j, {k: w**2 for k, w in others.items()})
        sampling = n * float(squares @ away**2)
        differ = self._differences(j, lift, mass)
        structural = float((n**2 * mass * spread * differ**2).sum())
        both = replace(
            estimate, sum=estimate.sum + more.sum, below=estimate.below + more.below, above=estimate.above + more.above
        )
        return both.blurred(more.variance + sampling + structural)

    def _differences(self, j: int, lift: FloatArray, mass: FloatArray) -> FloatArray:
        """(merged cells,) by how much the other columns' weights may change within each."""
        ordered = ordered_cells(self.schema.columns[j])
        whole = math.sqrt(float(mass @ (lift - mass @ lift) ** 2))
        found = np.full(len(lift), whole)
        if (count := int(self.model.merged[j][:ordered].max(initial=-1)) + 1) > 1:
            steps = np.abs(np.diff(lift[:count]))
            found[:count] = (np.append(steps, steps[-1]) + np.insert(steps, 0, steps[0])) / 4
        return found

    def _combined(self, products: Products) -> _Estimate:
        """By the noise's own law where it is not much wider, as it is exact; otherwise also by the model."""
        (estimate,), (s,) = (x.tolist() for x in self.noised.sums(products))
        law = self.errors[0].get(questions.name_of(self.noised, products.columns))
        if law is None and not math.isfinite(s):
            what = "no noised table measures it, and the errors of this kind of generator are not known"
            raise _refused("question", what, "Ask about a single column, or choose generator sweep.")
        if law is None:
            return _Estimate(estimate, s, 0.0, NOISED)
        sums = self.model.sums(products)
        g = law.variance(self.model.features(products, sums))
        (error,), (shared,), (modelled,) = law.grown(g).tolist(), (law.overlap * g).tolist(), sums.tolist()
        if s <= EXACT * error:
            return _Estimate(estimate, s, 0.0, NOISED)
        return (
            _Estimate(modelled, error, 1.0, MODEL) if math.isinf(s) else _of_both(error, shared, modelled, estimate, s)
        )


def _products(weights: Weights) -> Products:
    return Products(tuple(weights), tuple(w[None] for w in weights.values()))


def _of_both(error: float, shared: float, modelled: float, estimate: float, s: float) -> _Estimate:
    """The linear combination that has the least variance."""
    shared = min(shared, 0.95 * s, 0.95 * error)
    gap = error + s - 2 * shared
    pull = max(0.0, (error - shared) / gap)
    variance = error - 2 * pull * (error - shared) + pull**2 * gap
    heavy = min(1.0, (1 - pull) ** 2 * error / variance)
    return _Estimate(modelled + pull * (estimate - modelled), variance, heavy, BOTH)


def _deviations(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _answer(
    estimate: float, halves: tuple[float, float], bounds: tuple[float, float], level: float, how: str
) -> Answer:
    ends = (estimate - halves[0], estimate, estimate + halves[1])
    low, middle, high = (float(min(bounds[1], max(bounds[0], x))) for x in ends)
    return Answer(middle, low, high, level, how)


def _check(kind: str, of: int | None, level: float) -> None:
    if kind not in ("count", "share", "mean"):
        raise _refused("kind", "it is neither count, share nor mean", "Choose one of them.")
    if (kind == "mean") != (of is not None):
        raise _refused("question", "a mean is of a column, a count or share of none", 'Name the column with of="...".')
    if not 0.5 <= level <= 0.999:
        raise _refused("level", "it is not between 0.5 and 0.999", "Ask for 0.95, for example.")


def _refused(where: str, what: str, fix: str) -> ReleaseError:
    return ReleaseError("E_ANSWER", where, what, fix)


__all__ = ["Answer", "Answers", "Kind"]
