"""Which cells are put together: chosen from denoised counts, which cost nothing more.

Ordered cells: neighbours, about the same count in each merged cell; a cell that holds as much as one should by itself (a zero, a
cap, a rounded value) stays by itself, and none are put together across a value at which a constraint tells them apart.
Categories: the most common ones stay by themselves, the others are one cell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cohortium.data.binning import LIST, mergeable_cells, most_merged
from cohortium.data.columns import Categorical
from cohortium.data.conditions.reach import rule_boundaries
from cohortium.data.schema import Schema

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def grouped_cells(schema: Schema, bins: int, counts: Sequence[FloatArray]) -> IntArray:
    """(sum of sizes,) the merged cell of every cell, column after column; of each column 0, 1, ... without a gap.

    bins: how many of ordered ones the study has room for. counts: of every column's cells, at least 0.
    """
    return np.concatenate([_grouped(schema, j, bins, n) for j, n in enumerate(counts)])


def _grouped(schema: Schema, j: int, bins: int, counts: FloatArray) -> IntArray:
    column = schema.columns[j]
    several = mergeable_cells(column)
    if several <= most_merged(column, bins):
        return np.arange(column.size)
    values = counts[:several]
    if isinstance(column, Categorical):
        merged = common_cells(values, LIST * bins)
    else:
        cuts = rule_boundaries(schema, j)[:several]
        kept = cuts if cuts.sum() < bins else np.zeros_like(cuts)
        merged = quantile_cells(values, bins, kept)
    return np.concatenate([merged, merged.max() + 1 + np.arange(column.size - several)])


def common_cells(counts: FloatArray, most: int) -> IntArray:
    """(categories,) the most common ones by themselves, in their own order, then all others as one."""
    common = np.sort(np.argsort(-counts, kind="stable")[: most - 1])
    merged = np.full(len(counts), most - 1)
    merged[common] = np.arange(most - 1)
    return merged


def quantile_cells(counts: FloatArray, most: int, cuts: BoolArray | None = None) -> IntArray:
    """(cells,) ascending merged cells, at most ``most`` of them: the fullest cells by themselves, between them quantiles.

    cuts: (cells,) fewer than ``most``, at which a merged cell begins in any case.
    """
    mass, cuts = counts + 1e-9, np.zeros(len(counts), bool) if cuts is None else cuts
    alone = np.argsort(-mass, kind="stable")[: (most - 1 - int(cuts.sum())) // 2]
    alone = alone[mass[alone] >= mass.sum() / most]
    single = np.zeros(len(mass), bool)
    single[alone] = True
    numbers = 2 * np.cumsum(single) - single + np.cumsum(cuts)
    _, run = np.unique(numbers, return_inverse=True)  # of neighbours with neither a single cell nor a cut between them
    total = np.bincount(run, mass).astype(np.float64)
    parts = _parts(total, np.bincount(run), most)
    begin = np.concatenate([[0.0], np.cumsum(total)])[run]
    middle = (np.cumsum(mass) - mass / 2 - begin) / total[run] * parts[run]
    first = np.concatenate([[0], np.cumsum(parts)])[run]
    chosen = first + np.clip(middle.astype(np.int64), 0, parts[run] - 1)
    return np.unique(chosen, return_inverse=True)[1].astype(np.int64)


def _parts(mass: FloatArray, cells: IntArray, most: int) -> IntArray:
    """(runs,) into how many parts each is cut, ``most`` in all or as many as there are cells: the fullest parts are the ones to cut."""
    parts = np.ones(len(mass), np.int64)
    for _ in range(min(most, int(cells.sum())) - len(parts)):
        parts[np.argmax(np.where(parts < cells, mass / parts, -1.0))] += 1
    return parts
