"""Bounds on a sum over a column, given that no count is negative: the narrowest that noised sums of cells allow.

Noise in empty cells makes a sum of large values useless, although most of what the noise allows is impossible: counts
below zero. So a sum of weights w over true counts x is not estimated by the same weights of noised counts, but bounded: for any
combination a of noised sums (of cells, of merged cells, of all rows) that weighs no cell less than w does, a x is at
least w x, and a x is measured with normal noise of known variance. Among these combinations the one is taken whose bound would be
least if the counts were those the model expects (Rust and Burrus 1972; O'Leary and Rust 1986). Where every cell holds many
rows, this is the least-squares estimate and its error; where hardly any rows are, merged cells and totals decide.

Which combination is taken depends on noised quantities, through the model; the effect on coverage is measured (docs/answers.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cohortium_server.release.answers.products import FloatArray

IntArray = npt.NDArray[np.int64]
_OUTER, _INNER, _FULL_STEPS = 40, 80, 20
BELIEVED = 2.576  # standard deviations that released rows may be off what noised sums say, before these are believed: 99 in 100
THERE = 1.0  # standard deviations of their noise that rows at an end of a column must pass to be expected there


@dataclass(frozen=True)
class MergedCounts:
    """Noised counts of a column's cells put together. cells: (cells,) where each is counted. variance: of each count."""

    cells: IntArray
    counts: FloatArray
    variance: float


@dataclass(frozen=True)
class ColumnCounts:
    """What was measured of a column's cells, each by itself (``counts``, ``variance``) and merged, under independent noises."""

    counts: FloatArray
    variance: float
    levels: tuple[MergedCounts, ...] = ()

    def there(self, expected: FloatArray, ordered: int) -> FloatArray:
        """``expected`` without rows that a model fitted to noise: zero at either end where all rows there are no more than noise.

        ordered: how many of the first cells have neighbours. Where that would leave none of these, all stay.
        """
        put = min((lv for lv in self.levels if len(lv.counts) > 1), key=lambda lv: lv.variance, default=None)
        cells, variance = (np.arange(ordered), self.variance) if put is None else (put.cells[:ordered], put.variance)
        if not ordered:
            return expected
        mass = np.bincount(cells, expected[:ordered])
        noise = THERE * np.sqrt(variance * np.arange(1, len(mass) + 1))
        first, last = (int((m.cumsum() <= noise).nonzero()[0].max(initial=-1)) + 1 for m in (mass, mass[::-1]))
        if first + last >= len(mass):
            return expected
        inside = (cells >= first) & (cells < len(mass) - last)
        return np.append(np.where(inside, expected[:ordered], 0.0), expected[ordered:])

    def between(self, weights: FloatArray, expected: FloatArray, deviations: float) -> tuple[float, float]:
        """Ends of an interval for the sum of ``weights`` over the true counts.

        weights, expected: (cells,) of each cell, and how many rows the model expects there. deviations: of a normal variable, either way.
        """
        return (
            -self._most(-weights, expected, deviations),
            self._most(weights, expected, deviations),
        )

    def _most(self, weights: FloatArray, expected: FloatArray, deviations: float) -> float:
        """A bound above: how tight it is depends on the search having converged, but not that it is one."""
        together, counted, noise = self._coarser(len(weights))
        alone, levels = weights, np.zeros(len(counted))
        deviation = math.sqrt(self.variance * float(weights @ weights))
        for _ in range(_OUTER):
            if deviation == 0:
                break
            lowest = -expected * deviation / (deviations * self.variance)
            alone, levels = _combination(weights, lowest, together, self.variance, noise)
            before, deviation = (
                deviation,
                math.sqrt(self.variance * float(alone @ alone) + float(noise @ levels**2)),
            )
            if abs(before - deviation) <= 1e-4 * before:
                break
        return float(alone @ self.counts + levels @ counted) + deviations * deviation

    def _coarser(self, cells: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(cells, sums) which cells each sum of several holds, (sums,) the sums, and the variance of each."""
        if not self.levels:
            return np.zeros((cells, 0)), np.zeros(0), np.zeros(0)
        together = [(level.cells[:, None] == np.arange(len(level.counts))).astype(np.float64) for level in self.levels]
        noise = [np.full(len(level.counts), level.variance) for level in self.levels]
        return np.hstack(together), np.concatenate([level.counts for level in self.levels]), np.concatenate(noise)


def _combination(
    weights: FloatArray, lowest: FloatArray, together: FloatArray, variance: float, noise: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """What noised counts of cells, and noised sums of several, weigh: in every cell no less than ``weights`` in all.

    Newton's method on the sums' part of a function that is smooth, convex and quadratic in pieces: given the sums, a cell weighs what
    is missing to its weight, or ``lowest``, whichever is more.
    """
    levels = np.zeros(together.shape[1])
    for turn in range(_INNER):
        missing = weights - together @ levels
        tight = missing > lowest
        alone = np.where(tight, missing, lowest)
        pull, held = variance * (together.T @ alone), noise * levels
        if np.abs(pull - held).max(initial=0.0) <= 1e-9 * (
            np.abs(pull).max(initial=0.0) + np.abs(held).max(initial=0.0)
        ):
            break
        curved = np.diag(noise) + variance * (together[tight].T @ together[tight])
        step = np.linalg.solve(curved, pull - held)
        levels = levels + (step if turn < _FULL_STEPS else step / 2)
    missing = weights - together @ levels
    return np.maximum(missing, lowest), levels
