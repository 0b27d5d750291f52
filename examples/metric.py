"""A metric: how many of the pairs of values that occur in real rows occur in synthetic ones.

In the product this file would lie in ``common/cohortium/evaluation/``. What it returns is as private as the real rows: it is
for the institution's own eyes, or for tables that are public.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

CodeArray = npt.NDArray[np.integer[Any]]


def pair_coverage(real: CodeArray, synthetic: CodeArray, sizes: Sequence[int]) -> float:
    """Mean over all pairs of columns of the share, 0 to 1, of the real pairs of cells that are among the synthetic ones.

    real, synthetic: (rows, columns) codes, each in 0 .. sizes[column] - 1, at least one real row and two columns (ValueError).

    >>> real = np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
    >>> pair_coverage(real, real[:1], (2, 2))
    0.3333333333333333
    """
    if len(real) == 0 or len(sizes) < 2:
        raise ValueError("there is no pair to look at")

    def cells(codes: CodeArray, i: int, j: int) -> npt.NDArray[np.int64]:
        return np.unique(codes[:, i].astype(np.int64) * sizes[j] + codes[:, j])

    found = [np.isin(cells(real, i, j), cells(synthetic, i, j)).mean() for i, j in combinations(range(len(sizes)), 2)]
    return float(np.mean(found))
