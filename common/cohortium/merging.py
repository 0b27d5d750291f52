"""Neighbouring cells put together, so that a network sees a few well-filled cells of a finely declared column.

How many merged cells a column has follows from the study alone; which cells they hold is chosen by the coordinator, from
noised counts. An institution takes any choice: none moves what one person can change.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cohortium.errors import WireError
from cohortium.schema import Column, Continuous, Datetime, Ordinal, Schema

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def ordered_cells(column: Column) -> int:
    """How many of the column's cells, its first, have an order: bins and ranks, not points, nor a missing value's."""
    match column:
        case Continuous():
            return len(column.cuts) - 1
        case Datetime() | Ordinal():
            return column.values
        case _:
            return 0


def merged_sizes(schema: Schema, bins: int) -> tuple[int, ...]:
    """Cells of each column when at most ``bins`` ordered ones are kept."""
    return tuple(c.size - max(0, ordered_cells(c) - bins) for c in schema.columns)


def quantile_cells(schema: Schema, bins: int, counts: Sequence[FloatArray]) -> IntArray:
    """(sum of sizes,) the merged cell of every cell, column after column: about the same count in each.

    counts: of every column's cells, noised. A cell is never cut, so a merged cell may stay empty.
    """
    return np.concatenate([_quantiles(c, bins, n) for c, n in zip(schema.columns, counts, strict=True)])


def _quantiles(column: Column, bins: int, counts: FloatArray) -> IntArray:
    ordered = ordered_cells(column)
    if ordered <= bins:
        return np.arange(column.size)
    mass = np.maximum(counts[:ordered], 0.0) + 1e-9
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    first = np.minimum((middle * bins).astype(np.int64), bins - 1)
    return np.concatenate([first, bins + np.arange(column.size - ordered)])


def single_cells(sizes: tuple[int, ...]) -> IntArray:
    """(sum of sizes,) every cell by itself."""
    return np.concatenate([np.arange(k, dtype=np.int64) for k in sizes])


def merge(values: npt.NDArray[np.int16], sizes: tuple[int, ...], merged: IntArray) -> npt.NDArray[np.int16]:
    """(rows, columns) codes of merged cells from those of single cells."""
    starts = np.cumsum([0, *sizes[:-1]])
    codes: npt.NDArray[np.int16] = merged[values + starts].astype(np.int16)
    return codes


def read_merged(numbers: npt.NDArray[np.float32], sizes: tuple[int, ...], merged: tuple[int, ...]) -> IntArray:
    """The merged cell of every cell as it came in a model state; WireError E_STATE_INVALID where it is out of range."""
    cells = numbers.clip(-1.0, 2.0**31).astype(np.int64)  # of a number beyond all cells, one that is
    for (first, last), most in zip(pairwise(np.cumsum([0, *sizes])), merged, strict=True):
        part, told = cells[first:last], numbers[first:last]
        if (part != told).any() or (part < 0).any() or (part >= most).any():
            raise WireError("E_STATE_INVALID", "model state", "it names cells that there are not", "Restart the study.")
    return cells
