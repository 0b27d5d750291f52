"""How near single columns are: distances of two columns of values."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from cohortium.data.columns import Column
from cohortium.data.columns.encoding import INVALID
from cohortium.evaluation.estimates import shares
from cohortium.evaluation.measures import Measure, against_reference
from cohortium.evaluation.samples import Sample, Sides, is_ordered, numbers

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Distance = Callable[[FloatArray, FloatArray], FloatArray]
TOPIC = "columns"
TVD = "total variation distance"
KL = "Kullback-Leibler divergence"
KS = "Kolmogorov-Smirnov distance"
WASSERSTEIN = "Wasserstein distance"


def shapes(sides: Sides) -> Iterator[Measure]:
    """Of every column the total variation distance and divergence; of ordered ones also KS and Wasserstein."""
    for j, column in enumerate(sides.schema.columns):
        yield _of_cells(sides, j, TVD, total_variation)
        yield _of_cells(sides, j, KL, divergence, most=np.inf)
        if is_ordered(column):
            yield from _of_numbers(sides, j, column)


def _of_cells(sides: Sides, j: int, name: str, distance: Distance, most: float = 1.0) -> Measure:
    def statistic(reference: Sample, other: Sample) -> FloatArray:
        pair = (shares(s.cells[:, j], s.groups, sides.sizes[j]) for s in (reference, other))
        return distance(*pair)

    return against_reference(sides, TOPIC, name, sides.schema.columns[j].name, statistic, most)


def _of_numbers(sides: Sides, j: int, column: Column) -> Iterator[Measure]:
    spread = float(np.nanstd(numbers(column, sides.reference.rows.index[:, j]))) or 1.0

    def ks(reference: Sample, other: Sample) -> FloatArray:
        first, second, _ = cumulated(reference, other, j, column)
        found: FloatArray = np.abs(first - second).max(axis=1, initial=0.0)
        return found

    def wasserstein(reference: Sample, other: Sample) -> FloatArray:
        first, second, values = cumulated(reference, other, j, column)
        found: FloatArray = np.abs(first - second)[:, :-1] @ np.diff(values) / spread
        return found

    yield against_reference(sides, TOPIC, KS, column.name, ks)
    yield against_reference(sides, TOPIC, WASSERSTEIN, column.name, wasserstein, most=np.inf)


def total_variation(one: FloatArray, other: FloatArray) -> FloatArray:
    """(n,) half the sum of the absolute differences of (n, cells) shares."""
    found: FloatArray = np.abs(one - other).sum(axis=1) / 2
    return found


def divergence(real: FloatArray, other: FloatArray) -> FloatArray:
    """(n,) bits that real rows take more if they are coded by the other shares; a share of 1e-4 is added to all cells, evenly."""
    p, q = (np.maximum(0.0, s) * (1 - 1e-4) + 1e-4 / s.shape[1] for s in (real, other))
    found: FloatArray = (p * np.log2(p / q)).sum(axis=1)
    return found


def cumulated(one: Sample, other: Sample, j: int, column: Column) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(GROUPS + 1, values) shares of rows up to each value that occurs, for both; and the values. Missing ones are left out."""
    columns = [s.rows.index[:, j] for s in (one, other)]
    there = [c != INVALID for c in columns]
    found = np.unique(np.concatenate([c[t] for c, t in zip(columns, there, strict=True)]))
    values = numbers(column, found)
    order = np.argsort(values, kind="stable")
    rank = np.empty(len(found), np.int64)
    rank[order] = np.arange(len(found))
    halves = (
        shares(rank[np.searchsorted(found, c[t])], s.groups[t], max(1, len(found))).cumsum(axis=1)
        for c, t, s in zip(columns, there, (one, other), strict=True)
    )
    first, second = halves
    return first, second, values[order]
