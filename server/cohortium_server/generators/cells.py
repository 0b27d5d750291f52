"""From the cells of the schema to the merged ones that a network sees, and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cohortium_server.generators import Allowed

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Weights = dict[int, FloatArray]


@dataclass(frozen=True)
class Cells:
    """sizes: cells of each column. merged: (sum of sizes,) the merged cell of each. counts: of each, noised."""

    sizes: tuple[int, ...]
    merged: IntArray
    counts: FloatArray

    @cached_property
    def starts(self) -> IntArray:
        return np.cumsum([0, *self.sizes])

    def _column(self, j: int) -> tuple[IntArray, FloatArray]:
        """(cells,) of one column: the merged cell, and the part of its merged cell that each cell is."""
        part = slice(self.starts[j], self.starts[j + 1])
        merged, mass = self.merged[part], np.maximum(self.counts[part], 0.0) + 1e-9
        return merged, mass / np.bincount(merged, mass)[merged]

    def weights(self, allowed: Allowed, merged_sizes: tuple[int, ...]) -> Weights:
        """Per conditioned column the part of each merged cell that is allowed."""
        found: Weights = {}
        for j, cells in allowed.items():
            merged, part = self._column(j)
            found[j] = np.bincount(merged, part * cells, merged_sizes[j]).astype(np.float64)
        return found

    def summed(self, merged_sizes: tuple[int, ...]) -> list[FloatArray]:
        """Each column's (cells,) noised counts of merged cells."""
        parts = [slice(a, b) for a, b in pairwise(self.starts)]
        return [
            np.bincount(self.merged[part], self.counts[part], k).astype(np.float64)
            for part, k in zip(parts, merged_sizes, strict=True)
        ]

    def spread(self, codes: npt.NDArray[np.int16], rng: np.random.Generator, allowed: Allowed) -> npt.NDArray[np.int16]:
        """(rows, columns) codes of single cells: within a merged cell by the noised counts of those allowed."""
        spread = codes.copy()
        for j in range(len(self.sizes)):
            merged, part = self._column(j)
            if len(merged) == merged.max() + 1 and (merged == np.arange(len(merged))).all():
                continue
            part = part * allowed[j] if j in allowed else part
            for cell in np.unique(codes[:, j]):
                inside, rows = np.flatnonzero(merged == cell), codes[:, j] == cell
                chances = part[inside] / part[inside].sum()
                spread[rows, j] = rng.choice(inside, rows.sum(), p=chances)
        return spread
