"""Binning: cells merged so that a model sees a few well-filled cells of a finely declared column, or of a long list.

How many merged cells a column has follows from the study alone; which cells they hold is chosen by the coordinator, from
noised counts. An institution accepts any choice: none of them affects the sensitivity.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from cohortium.data.columns import Categorical, Column, Continuous, Datetime, Ordinal
from cohortium.data.schema import Schema
from cohortium.errors import WireError

IntArray = npt.NDArray[np.int64]
LIST = 4
_BLOCK = 1 << 15


def ordered_cells(column: Column) -> int:
    """How many of the column's cells, its first, have an order: bins and ranks, not points or special values, nor a missing value's."""
    match column:
        case Continuous() | Datetime():
            return len(column.cuts) - 1
        case Ordinal():
            return column.values
        case _:
            return 0


def mergeable_cells(column: Column) -> int:
    """How many of the column's first cells may be merged: the ordered ones, or all of a list's categories."""
    return column.values if isinstance(column, Categorical) else ordered_cells(column)


def most_merged(column: Column, bins: int) -> int:
    """How many merged cells those may have. Categories have no neighbours to merge with, so they keep more."""
    return LIST * bins if isinstance(column, Categorical) else bins


def merged_sizes(schema: Schema, bins: int) -> tuple[int, ...]:
    """Cells of each column when at most ``bins`` ordered ones are kept, or ``LIST`` times so many categories."""
    return tuple(c.size - max(0, mergeable_cells(c) - most_merged(c, bins)) for c in schema.columns)


def single_cells(sizes: tuple[int, ...]) -> IntArray:
    """(sum of sizes,) every cell by itself."""
    return np.concatenate([np.arange(k, dtype=np.int64) for k in sizes])


def merge(values: npt.NDArray[np.integer[Any]], sizes: tuple[int, ...], merged: IntArray) -> npt.NDArray[np.int16]:
    """(rows, columns) codes of merged cells from those of single cells; some rows at a time, as positions are wide."""
    starts, codes = np.cumsum([0, *sizes[:-1]]), np.empty(values.shape, np.int16)
    for first in range(0, len(values), _BLOCK):
        part = slice(first, first + _BLOCK)
        codes[part] = merged[values[part] + starts]
    return codes


def read_merged(numbers: npt.NDArray[np.float32], sizes: tuple[int, ...], merged: tuple[int, ...]) -> IntArray:
    """The merged cell of every cell as it came in a model state; WireError E_STATE_INVALID where it is out of range."""
    cells = numbers.clip(-1.0, 2.0**31).astype(np.int64)  # of a number beyond all cells, one that is
    for (first, last), most in zip(pairwise(np.cumsum([0, *sizes])), merged, strict=True):
        part, received = cells[first:last], numbers[first:last]
        if (part != received).any() or (part < 0).any() or (part >= most).any():
            raise WireError("E_STATE_INVALID", "model state", "it names cells that do not exist", "Restart the study.")
    return cells
