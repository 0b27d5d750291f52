"""Noised tables as proportions, the form in which they are fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """A noised table as proportions. columns: ascending positions, one to three; sigma: noise of a cell.

    crossed: of three columns, the one within whose cells the other two are told as a pair.
    """

    columns: tuple[int, ...]
    shares: FloatArray
    sigma: float
    crossed: int | None = None


def single_columns(sizes: Sequence[int], tables: Sequence[Table]) -> list[Table]:
    """Every column's proportions, averaged by precision over all tables it is in."""
    alone = []
    for j, size in enumerate(sizes):
        total, precision = np.zeros(size), 0.0
        for table in (t for t in tables if j in t.columns):
            others = tuple(a for a, k in enumerate(table.columns) if k != j)
            weight = size / (table.sigma**2 * table.shares.size)
            total, precision = total + weight * table.shares.sum(axis=others), precision + weight
        alone.append(Table((j,), total / precision, 1 / math.sqrt(precision)))
    return alone
