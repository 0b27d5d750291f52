"""The errors of a fitted model's sums: estimated in a rehearsal, and scaled to what the real noised tables show.

For sums of products of weights, like the questions that people ask, drawn at random:

1. g, the variance of the fit's error, as a function of features of the sum; from the rehearsal's errors, which are known exactly.
2. growth, by which errors are larger than rehearsed, as a model is smoother than real data; it may rise or fall with g.
   With the model's sum m, the noised tables' d of variance s² and its covariance c with the fit's error (from the
   rehearsal), the mean of (m - d)² is growth g + s² - 2c (Stein's unbiased risk estimate, c by the bootstrap: Efron 2004).
   One standard error is added to the estimate: what noise hides makes intervals wider.
3. tails: errors are a scale mixture of normal ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np
import numpy.typing as npt

from cohortium_server.release.answers.noised import Noised
from cohortium_server.release.answers.products import FloatArray, Products, Units
from cohortium_server.release.answers.rehearsal import Rehearsal

Places = npt.NDArray[np.int64]

SCALES = np.array([0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0])  # of variance, in the mixture
GROWTH, SLOPE = (math.log(2.0), 0.45), (0.0, 0.3)  # of its logarithm, and how it changes with log g: mean, deviation
OVERLAP = (0.5, 0.2)
ENOUGH = 10  # sets of columns
RIDGE = 0.3


@dataclass(frozen=True)
class Law:
    """The errors of sums of one class: of one, two or three columns, measured together or not.

    centre, scale, slopes: (features,) log g is slopes @ (features - centre) / scale. overlap: c / g.
    growth: its logarithm at the mean of log g, and its change for each standard deviation of log g; doubt:
    (2, 2) their covariance. middle: mean and standard deviation of log g in the rehearsal.
    """

    centre: FloatArray
    scale: FloatArray
    slopes: FloatArray
    overlap: float = OVERLAP[0]
    growth: FloatArray = field(default_factory=lambda: np.array([GROWTH[0], SLOPE[0]]))
    doubt: FloatArray = field(default_factory=lambda: np.diag([GROWTH[1] ** 2, SLOPE[1] ** 2]))
    middle: tuple[float, float] = (0.0, 1.0)

    def variance(self, features: FloatArray) -> FloatArray:
        """(n,) g, with features clipped to the range seen in the rehearsal."""
        standard = np.clip((features - self.centre) / self.scale, -4, 4)
        g: FloatArray = np.exp(standard @ self.slopes)
        return g

    def along(self, g: FloatArray) -> FloatArray:
        """(n, 2) the regressors of log growth."""
        return np.column_stack([np.ones(len(g)), np.clip((np.log(g) - self.middle[0]) / self.middle[1], -2.5, 2.5)])

    def grown(self, g: FloatArray) -> FloatArray:
        """(n,) the variance of real errors, a standard error above the likeliest, and never below ``g``."""
        x = self.along(g)
        larger = x @ self.growth + np.sqrt(np.einsum("ni,ij,nj->n", x, self.doubt, x))
        grown: FloatArray = g * np.exp(np.maximum(larger, 0))
        return grown


@dataclass(frozen=True)
class Model:
    """The parts of a fitted model that sums depend on. singles: every column's (cells,) distribution; merged: which cells count as one."""

    units: Units
    rows: int
    singles: Sequence[FloatArray]
    merged: Sequence[Places]

    def folded(self, j: int, weights: FloatArray) -> FloatArray:
        """(cells,) of a column: the mean weight of the merged cell that each is in."""
        cells, p = self.merged[j], self.singles[j] + 1e-12
        mean: FloatArray = (np.bincount(cells, p * weights) / np.bincount(cells, p))[cells]
        return mean

    def sums(self, products: Products) -> FloatArray:
        return self.rows * self.units.expected(products)

    def features(self, products: Products, sums: FloatArray) -> FloatArray:
        """(n, features) of products whose largest weight is 1, and their ``sums``: logarithms of parts of their variance.

        By order of interaction: were the columns independent, the variance of the product over the rows, and the same
        over the cells that are counted, as noise has it. Weights are the same all over each merged cell.
        """
        means, spreads, flat = [], [], []
        for j, w in zip(products.columns, products.weights, strict=True):
            p, cells = self.singles[j], self.merged[j]
            mean = w @ p
            _, first = np.unique(cells, return_index=True)
            away = w - mean[:, None]
            means.append(mean**2)
            spreads.append((away**2) @ p)
            flat.append((away[:, first] ** 2).sum(1))
        squared = self.sums(products.mapped(np.square))
        variance = np.maximum(squared - sums**2 / self.rows, 0)
        over = [self.rows * part for part in _by_order(means, spreads)]
        noise = [100 * part for part in _by_order(means, flat)]
        parts = np.stack([squared, variance, 100 * reduce(np.multiply, means), *over, *noise], 1)
        return np.column_stack([np.ones(len(products)), np.log(parts + 1)])


def _by_order(means: Sequence[FloatArray], spreads: Sequence[FloatArray]) -> list[FloatArray]:
    """Variances of the interactions of one, two and three columns."""
    found = [np.zeros_like(means[0]) for _ in range(3)]
    places = range(len(means))
    for order in range(1, len(means) + 1):
        for chosen in itertools.combinations(places, order):
            found[order - 1] += reduce(np.multiply, (spreads[a] if a in chosen else means[a] for a in places))
    return found


def learnt(
    model: Model, noised: Noised, rehearsals: Sequence[Rehearsal], questions: dict[str, list[Products]]
) -> tuple[dict[str, Law], FloatArray]:
    """The law of every class of sums, and the tails' (scales,) chances."""
    laws: dict[str, Law] = {}
    standard, usual = [], np.array([GROWTH[0], SLOPE[0]])
    for name, asked in questions.items():
        block = np.repeat(np.arange(len(asked)), [len(p) for p in asked])
        modelled = [model.sums(p) for p in asked]
        features = np.concatenate([model.features(p, s) for p, s in zip(asked, modelled, strict=True)])
        runs = [_columns(map(rehearsal.errors, asked)) for rehearsal in rehearsals]
        law = _regressed(features, np.mean([errors**2 for errors, _, _ in runs], axis=0) + 0.01)
        g = law.variance(features)
        standard += [errors / np.sqrt(g) for errors, _, _ in runs]
        overlap = float(np.mean([_overlap(g, e, n, s, block) for e, n, s in runs]))
        middle = float(np.log(g).mean()), max(0.1, float(np.log(g).std()))
        law = replace(law, overlap=overlap, middle=middle, growth=usual)
        counted, variance = _columns(map(noised.sums, asked))
        if (known := np.isfinite(variance)).any():
            gaps = (np.concatenate(modelled) - counted)[known]
            law = _grown(law, g[known], gaps, variance[known], 1 / np.bincount(block)[block][known])
            usual = np.maximum(law.growth, [GROWTH[0], -math.inf])  # of more columns usually no less
        laws[name] = law
    return laws, _tails(np.concatenate(standard))


def _columns(parts: Iterable[tuple[FloatArray, ...]]) -> list[FloatArray]:
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _regressed(features: FloatArray, squares: FloatArray) -> Law:
    """Gamma regression of squared errors with a logarithmic link and a light ridge, by Newton's steps."""
    centre, scale = features.mean(0), features.std(0)
    centre[0], scale[scale < 1e-9] = 0, 1
    z, slopes = (features - centre) / scale, np.zeros(features.shape[1])
    slopes[0] = math.log(squares.mean())
    ridge = RIDGE * np.eye(len(slopes))
    ridge[0, 0] = 0
    for _ in range(60):
        surplus = np.minimum(squares * np.exp(-np.clip(z @ slopes, -30, 30)), 25) - 1
        slopes = slopes + 0.7 * np.linalg.solve(z.T @ z / 2 + ridge, z.T @ surplus / 2 - ridge @ slopes)
    return Law(centre, scale, slopes)


def _overlap(g: FloatArray, errors: FloatArray, noises: FloatArray, variance: FloatArray, block: Places) -> float:
    """The ratio c / g over the sums that noised tables measure in the rehearsal."""
    known = np.isfinite(variance)
    g, s, block = g[known], variance[known], block[known]
    weight = g / (g + s) ** 2
    ratio = _drawn(weight * (errors * noises)[known], weight * g, weight * np.sqrt(g * s), block, OVERLAP)
    return min(1.0, max(0.0, ratio))


def _grown(law: Law, g: FloatArray, gaps: FloatArray, variance: FloatArray, weight: FloatArray) -> Law:
    """The law with the growth that makes ``gaps`` likeliest, were they normal, by Fisher's scoring, from what it has as usual.

    weight: of each gap; those of the same columns have the same noise and count as one together.
    """
    x, theta = law.along(g), law.growth
    before = np.diag([GROWTH[1] ** -2, SLOPE[1] ** -2])
    for _ in range(50):
        grown = g * np.exp(np.clip(x @ theta, -5, 5))
        v = np.maximum(grown + variance - 2 * law.overlap * g, 0.05 * (grown + variance))
        part = grown / v
        surplus = weight * part * (np.minimum(gaps**2 / v, 25) - 1) / 2
        precision = before + (x.T * (weight * part**2 / 2)) @ x
        theta = theta + 0.5 * np.linalg.solve(precision, x.T @ surplus - before @ (theta - law.growth))
    return replace(law, growth=theta, doubt=np.linalg.inv(precision).astype(np.float64))


def _drawn(
    found: FloatArray, expected: FloatArray, doubts: FloatArray, block: Places, usual: tuple[float, float]
) -> float:
    """The ratio of two sums, drawn to its ``usual`` mean as far as noise hides it.

    doubts: standard deviation of each term of the first. block: which terms are of the same columns, and so of the same noise; few
    blocks do not show how much they differ, and all of their terms are then taken as one.
    """
    if not len(found):
        return usual[0]
    ratio = float(found.sum() / expected.sum())
    enough = len(np.unique(block)) >= ENOUGH
    apart = np.bincount(block, found - ratio * expected if enough else doubts)
    precision, before = float(expected.sum() ** 2 / (apart**2).sum()), usual[1] ** -2
    return (ratio * precision + usual[0] * before) / (precision + before)


def _tails(standard: FloatArray) -> FloatArray:
    """(scales,) chances of the mixture that fits standardised errors best, by expectation and maximisation."""
    chances = np.full(len(SCALES), 1 / len(SCALES))
    likely = np.exp(-(standard[:, None] ** 2) / (2 * SCALES)) / np.sqrt(SCALES)
    for _ in range(200):
        owned = chances * likely + 1e-300
        chances = (owned / owned.sum(1, keepdims=True)).mean(0)
    return chances
