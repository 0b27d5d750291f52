"""What noised counts of one column's cells say about its shape: noise in them must not become values.

Three things are known of the counts: the noise's standard deviation, that counts are not negative, and that most of a
fine column is smooth or empty. So differences between neighbours, at every scale, are believed where they are
larger than noise makes them (translation-invariant Haar wavelets: Coifman and Donoho 1995); beyond the outermost cells
where anything was counted that noise does not explain, counts fall; and far beyond, where nearly all was counted before, there is nothing.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
BELIEVED = 3.5  # standard deviations of a difference
COUNTED = 5.0  # of a sum of neighbouring counts: of thousands of sums, none by chance
NEARLY = 0.9  # of all rows
COMMON = 2.0  # of the count of a category


def denoised(counts: FloatArray, sigma: float) -> FloatArray:
    """(cells,) counts of ordered cells, at least 0, with less noise than independent noise of ``sigma`` put into them.

    All zero where not even their sum is positive.
    """
    smooth = _smoothed(counts, sigma)
    there = np.flatnonzero(counted(counts, sigma))
    if not len(there):
        return smooth
    first, last = there[0], there[-1] + 1
    nearly_all = counts[first:last].sum() > NEARLY * counts.sum()
    near = int(last - first) if nearly_all else len(counts)
    left, right = _tail(counts[:first][::-1], sigma, near)[::-1], _tail(counts[last:], sigma, near)
    return np.concatenate([left, smooth[first:last], right])


def denoised_list(counts: FloatArray, sigma: float) -> FloatArray:
    """(cells,) counts of cells without an order, at least 0: those that noise may explain are none, if any others are."""
    common = counts > COMMON * sigma
    return np.where(common, counts, 0.0) if common.any() else np.maximum(counts, 0.0)


def _smoothed(counts: FloatArray, sigma: float) -> FloatArray:
    """The mean of ``counts`` in every cell, and what differences are believed. Mirrored, so that the ends have no neighbours."""
    levels = math.ceil(math.log2(len(counts))) + 1
    values = np.pad(counts, (0, 2**levels - len(counts)), mode="symmetric")
    differences: list[FloatArray] = []
    mean = max(0.0, float(values.mean()))
    for level in range(
        levels
    ):  # sums of 2, 4, ... neighbours, and differences of two such sums, each with noise ``sigma``
        beside = np.roll(values, -(1 << level))
        difference, values = (values - beside) / math.sqrt(2), (values + beside) / math.sqrt(2)
        differences.append(np.where(np.abs(difference) > BELIEVED * sigma, difference, 0.0))
    values = np.full(len(values), mean * 2 ** (levels / 2))
    for level in reversed(range(levels)):
        difference = differences[level]
        values = ((values + difference) + np.roll(values - difference, 1 << level)) / math.sqrt(8)
    smooth: FloatArray = np.maximum(values[: len(counts)], 0.0)
    return smooth


def counted(counts: FloatArray, sigma: float) -> BoolArray:
    """(cells,) whether a cell is in a stretch of 1, 2, 4, ... cells whose sum is more than noise; of such stretches the shortest."""
    there = np.zeros(len(counts), bool)
    length = 1
    while length <= len(counts):
        sums = _sliding(np.where(there, 0.0, counts), length)
        clear = _sliding(there.astype(np.float64), length) == 0
        for begin in np.flatnonzero(clear & (sums > COUNTED * sigma * math.sqrt(length))):
            if not there[begin : begin + length].any():
                there[begin : begin + length] = True
        length *= 2
    return there


def _sliding(values: FloatArray, length: int) -> FloatArray:
    """(cells - length + 1,) sums of so many neighbours."""
    ladder = np.concatenate([[0.0], np.cumsum(values)])
    sums: FloatArray = ladder[length:] - ladder[:-length]
    return sums


def _tail(counts: FloatArray, sigma: float, near: int) -> FloatArray:
    """Falling counts, at least 0; beyond the first ``near`` cells of those alone that are more than noise."""
    if not len(counts):
        return counts
    pools = falling(counts)
    levels = [np.full(n, max(0.0, total / n)) for total, n in pools]
    sure = [np.full(n, total > BELIEVED * sigma * math.sqrt(n)) for total, n in pools]
    return np.where(np.concatenate(sure) | (np.arange(len(counts)) < near), np.concatenate(levels), 0.0)


def falling(counts: FloatArray) -> list[tuple[float, int]]:
    """The nearest counts that nowhere rise, by least squares (pooling adjacent violators): sum and cells of each level."""
    pools: list[tuple[float, int]] = []
    for count in counts.tolist():
        total, cells = count, 1
        while pools and pools[-1][0] * cells <= total * pools[-1][1]:
            before = pools.pop()
            total, cells = total + before[0], cells + before[1]
        pools.append((total, cells))
    return pools
