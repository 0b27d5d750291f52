"""What noised histograms of single columns say about their shapes: noise in them must not become values.

Of every column there are histograms at one or several resolutions, each with noise of its own (queries/histograms.py). Four
things are known besides: all columns have the same rows, counts are not negative, most of an ordered column is smooth, and
what is not smooth (a zero, a cap, a rounded value) stands out of the noise at some resolution.

So the number of rows is the mean of all columns' totals, by precision. Cells without an order share it as the
nearest point of the simplex. An ordered column's cells get a smooth density first, a log-spline whose roughness costs as
much as Stein's unbiased estimate of the risk says (Eilers and Marx 1996; Stein 1981). That is what counts are shrunk to, from
coarse groups to their parts, by as much as noise alone would move them (James and Stein 1961).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cohortium.data.binning import ordered_cells
from cohortium.data.schema import Schema
from cohortium_server.generators import Measured

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
KNOTS = 40  # of a spline; there are no more than cells
PENALTIES = 10.0 ** np.arange(4.5, -1.5, -0.7)  # of its second differences, from a straight line to hardly any
STEPS = 40  # of Newton's method at most, for each of them
SHRUNK = 2.0  # how often its own noise is subtracted from what a group's parts differ by
LEAST = 1e-9  # the part of the mass that a cell keeps in what counts are shrunk to


@dataclass(frozen=True)
class NoisedLevel:
    """A histogram of a column's ordered cells. starts: (groups,) the first cell of each group; noise of each: ``variance``."""

    starts: IntArray
    sums: FloatArray
    variance: FloatArray

    def grouped(self, values: FloatArray) -> FloatArray:
        """(groups, ...) sums of (cells, ...) values."""
        found: FloatArray = np.add.reduceat(values, self.starts, axis=0)
        return found


@dataclass(frozen=True)
class _Column:
    """What is known of one column alone. levels: from coarse to fine, consistent upwards (``_upwards``); () without an order.

    measured: the same levels as they were measured. others: noised counts of the cells without an order.
    """

    measured: tuple[NoisedLevel, ...]
    levels: tuple[NoisedLevel, ...]
    others: FloatArray
    variance: float

    @property
    def parts(self) -> tuple[FloatArray, FloatArray]:
        """The counts of cells without an order, then that of all ordered ones, and their variances."""
        whole = [self.levels[0].sums.sum()] if self.levels else []
        spread = [self.levels[0].variance.sum()] if self.levels else []
        others = np.full(len(self.others), self.variance)
        return np.concatenate([self.others, whole]), np.concatenate([others, spread])


def estimated(schema: Schema, tables: Sequence[Measured]) -> list[FloatArray]:
    """(cells,) of every column the rows that each cell is thought to hold, at least 0; they add up to the same for all columns.

    tables: of single columns, all levels of each from coarse to fine.
    """
    columns = [
        _column([t for t in tables if t.columns == (j,)], ordered_cells(c)) for j, c in enumerate(schema.columns)
    ]
    rows = _rows(columns)
    return [_shared_out(column, rows) for column in columns]


def _column(tables: Sequence[Measured], ordered: int) -> _Column:
    precision = sum(t.sigma**-2 for t in tables)
    levels = tuple(_level(t, ordered) for t in tables) if ordered else ()
    outside = [t.counts[len(t.counts) - (_cells(t) - ordered) :] for t in tables]
    others = sum(counts * t.sigma**-2 for counts, t in zip(outside, tables, strict=True)) / precision
    return _Column(levels, tuple(_upwards(levels)), np.asarray(others, np.float64), 1 / precision)


def _cells(table: Measured) -> int:
    return len(table.counts) if table.cells[0] is None else len(table.cells[0])


def _level(table: Measured, ordered: int) -> NoisedLevel:
    cells = np.arange(_cells(table)) if table.cells[0] is None else table.cells[0]
    starts = np.flatnonzero(np.diff(cells[:ordered], prepend=-1))
    return NoisedLevel(starts, table.counts[: len(starts)], np.full(len(starts), table.sigma**2))


def _upwards(levels: Sequence[NoisedLevel]) -> list[NoisedLevel]:
    """Every group's sum as it and all levels below it tell, by precision; the levels are nested."""
    best: list[NoisedLevel] = []
    for level in reversed(levels):
        if best:
            parents = _parents(level, best[0])
            below, spread = (np.add.reduceat(v, parents) for v in (best[0].sums, best[0].variance))
            variance = 1 / (1 / level.variance + 1 / spread)
            level = NoisedLevel(level.starts, variance * (level.sums / level.variance + below / spread), variance)
        best.insert(0, level)
    return best


def _parents(coarse: NoisedLevel, fine: NoisedLevel) -> IntArray:
    """(coarse groups,) the first fine group of each."""
    return np.searchsorted(fine.starts, coarse.starts)


def _rows(columns: Sequence[_Column]) -> float:
    """The number of rows by all columns' totals; at least 1."""
    totals = [(float(counts.sum()), 1 / float(variance.sum())) for counts, variance in (c.parts for c in columns)]
    return max(1.0, math.fsum(n * w for n, w in totals) / math.fsum(w for _, w in totals))


def _shared_out(column: _Column, rows: float) -> FloatArray:
    counts, variance = column.parts
    moved = counts + (rows - counts.sum()) * variance / variance.sum()
    shares = nearest_shares(moved, rows)
    if not column.levels:
        return shares
    mass = max(float(shares[-1]), 1.0)
    fine = _downwards(column.levels, mass, smooth(column.measured, mass))
    return np.concatenate([fine * (shares[-1] / mass), shares[:-1]])


def nearest_shares(counts: FloatArray, total: float) -> FloatArray:
    """The nearest counts that are at least 0 and add up to ``total`` (Duchi et al. 2008, figure 1)."""
    falling = np.sort(counts)[::-1]
    over = (np.cumsum(falling) - total) / np.arange(1, len(counts) + 1)
    nearest: FloatArray = np.maximum(counts - over[np.flatnonzero(falling > over)[-1]], 0.0)
    return nearest


def _downwards(levels: Sequence[NoisedLevel], mass: float, shape: FloatArray) -> FloatArray:
    """(cells,) of sum ``mass``: each group's is split among its parts by their sums, shrunk towards ``shape``."""
    shape = np.maximum(shape, LEAST * shape.sum() / len(shape))
    whole = NoisedLevel(np.zeros(1, np.int64), np.array([mass]), np.zeros(1))
    for level in levels:
        whole = _split(whole, level, shape)
    return whole.sums


def _split(whole: NoisedLevel, level: NoisedLevel, shape: FloatArray) -> NoisedLevel:
    """The parts' masses, in a level's place."""
    first = _parents(whole, level)
    parent = np.repeat(np.arange(len(first)), np.diff(first, append=len(level.starts)))

    def total(values: FloatArray) -> FloatArray:
        found: FloatArray = np.add.reduceat(values, first)[parent]
        return found

    within, spread = level.grouped(shape), total(level.variance)
    expected = whole.sums[parent] * within / total(within)
    measured = level.sums + (whole.sums[parent] - total(level.sums)) * level.variance / spread
    moved, noise = measured - expected, level.variance * (1 - level.variance / spread)
    believed = np.maximum(0.0, 1 - SHRUNK * total(noise) / np.maximum(total(moved**2), 1e-12))
    masses = np.maximum(expected + believed * moved, 0.0)
    left = total(masses)
    return NoisedLevel(
        level.starts, np.where(left > 0, masses * whole.sums[parent] / np.maximum(left, 1e-12), expected), noise
    )


def smooth(levels: Sequence[NoisedLevel], mass: float) -> FloatArray:
    """(cells,) of sum ``mass``: the log-spline of the least estimated risk."""
    cells = int(levels[-1].starts[-1]) + 1
    if cells <= 2:
        return np.full(cells, mass / cells)
    fits = _LogSpline(levels, mass, cells).fits()
    return min(fits, key=lambda fit: fit[0])[1]


class _LogSpline:
    """A density whose logarithm is piecewise linear, and its squared distance from noised sums at all levels."""

    def __init__(self, levels: Sequence[NoisedLevel], mass: float, cells: int) -> None:
        self._levels, self._mass = levels, mass
        self._basis = _hats(cells, min(KNOTS, cells))
        self._noised = np.concatenate([level.sums / np.sqrt(level.variance) for level in levels])
        rough = np.diff(np.eye(self._basis.shape[1]), 2, axis=0)
        self._rough = rough.T @ rough

    def fits(self) -> Iterator[tuple[float, FloatArray]]:
        """For each penalty Stein's estimate of the risk, and the counts."""
        heights = np.zeros(self._basis.shape[1])
        for penalty in PENALTIES:
            heights = self._newton(heights, penalty * self._rough)
            counts, error, _ = self._at(heights)
            slopes = self._slopes(counts)
            bent = slopes.T @ slopes
            freedom = np.trace(_solved(bent, penalty * self._rough, bent, 1e-9))
            yield float(error @ error + 2 * freedom), counts

    def _newton(self, heights: FloatArray, rough: FloatArray) -> FloatArray:
        """Gauss and Newton's method, damped where a step would not help (Marquardt 1963)."""
        damping = 1e-3
        counts, error, cost = self._at(heights, rough)
        for _ in range(STEPS):
            slopes = self._slopes(counts)
            pull = slopes.T @ error + rough @ heights
            step = _solved(slopes.T @ slopes, rough, -pull, damping)
            moved = self._at(heights + step, rough)
            if moved[2] < cost:
                small = cost - moved[2] < 1e-4 * (1 + cost)
                heights, (counts, error, cost), damping = heights + step, moved, max(damping / 5, 1e-9)
                if small:
                    break
            else:
                damping *= 8
                if damping > 1e8:
                    break
        return heights

    def _at(self, heights: FloatArray, rough: FloatArray | None = None) -> tuple[FloatArray, FloatArray, float]:
        """The counts, their errors in standard deviations, and the cost, that of roughness included."""
        logs = self._basis @ heights
        counts = np.exp(logs - logs.max())
        counts *= self._mass / counts.sum()
        error = self._in_noise(counts) - self._noised
        return counts, error, float(error @ error + (0.0 if rough is None else heights @ rough @ heights))

    def _slopes(self, counts: FloatArray) -> FloatArray:
        """(sums, heights) how the sums at all levels, in standard deviations, change with the heights."""
        centred = self._basis - counts @ self._basis / self._mass
        slopes: FloatArray = self._in_noise(counts[:, None] * centred)
        return slopes

    def _in_noise(self, values: FloatArray) -> FloatArray:
        parts = [(level.grouped(values).T / np.sqrt(level.variance)).T for level in self._levels]
        found: FloatArray = np.concatenate(parts)
        return found


def _solved(bent: FloatArray, rough: FloatArray, right: FloatArray, damping: float) -> FloatArray:
    """``bent + rough`` has a direction that nothing depends on, as heights have no level: damped, by a part of ``bent``, it is 0."""
    more = (damping * float(np.trace(bent)) + 1e-12 * float(np.trace(rough))) / len(bent) + 1e-12
    return np.linalg.solve(bent + rough + more * np.eye(len(bent)), right).astype(np.float64)


def _hats(cells: int, knots: int) -> FloatArray:
    """(cells, knots) piecewise linear functions, one at each of evenly spaced knots; of few cells, one of each."""
    if knots == cells:
        return np.eye(cells)
    places = (np.arange(cells) + 0.5) / cells * (knots - 1)
    left = np.minimum(places.astype(np.int64), knots - 2)
    found = np.zeros((cells, knots))
    found[np.arange(cells), left] = 1 - (places - left)
    found[np.arange(cells), left + 1] = places - left
    return found
