"""A number with its interval: the delete-a-group jackknife over groups of persons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
GROUPS = 20  # of persons, one of which is left out at a time


@dataclass(frozen=True)
class Estimate:
    """A value, and an interval that would hold it in 95 of 100 draws of as many persons."""

    value: float
    low: float
    high: float

    def within(self, least: float, most: float) -> Estimate:
        """No wider than what the measure can be."""
        return Estimate(self.value, max(least, self.low), min(most, self.high))


def jackknifed(values: FloatArray) -> Estimate:
    """values: (GROUPS + 1,) a statistic of everybody, and then without each group. Kott (2001), The delete-a-group jackknife."""
    from scipy.stats import t

    whole, without = values[0], values[1:]
    error = np.sqrt((GROUPS - 1) / GROUPS * np.square(without - whole).sum())
    reach = float(t.ppf(0.975, GROUPS - 1) * error)
    return Estimate(float(whole), float(whole) - reach, float(whole) + reach)


def shares(cells: IntArray, groups: IntArray, size: int) -> FloatArray:
    """(GROUPS + 1, size) shares of rows in each cell: of all rows, and then without each group's.

    cells: (rows,) each in 0 .. size - 1. groups: (rows,) each in 0 .. GROUPS - 1. Without any row the shares are 0.
    """
    counts = np.bincount(groups * size + cells, minlength=GROUPS * size).reshape(GROUPS, size).astype(np.float64)
    whole = counts.sum(axis=0)
    kept = np.vstack([whole, whole - counts])
    found: FloatArray = kept / np.maximum(1.0, kept.sum(axis=1, keepdims=True))
    return found


def means(values: npt.NDArray[np.generic], groups: IntArray) -> FloatArray:
    """(GROUPS + 1,) means of (rows,) numbers: of all rows, and then without each group's."""
    totals = np.bincount(groups, weights=values.astype(np.float64), minlength=GROUPS)
    rows = np.bincount(groups, minlength=GROUPS)
    kept, left = totals.sum() - np.array([0.0, *totals]), rows.sum() - np.array([0, *rows])
    found: FloatArray = kept / np.maximum(1, left)
    return found
