"""A generator: every column by itself, fitted to the noised tables that sweep asks for.

In the product this file would lie in ``server/cohortium_server/generators/``; docs/extending.md has the other places.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cohortium.neural.drawing import one_of_each
from cohortium.study.study import Study
from cohortium.system.progress import Progress
from cohortium_server.generators import Measured, Tensors
from cohortium_server.generators.cells import Weights
from cohortium_server.generators.counted import CountedGenerator

CodeArray = npt.NDArray[np.int16]


class Independent(CountedGenerator):
    """Shares of every column's cells, averaged over the tables that have the column; columns are drawn independently."""

    def __init__(self, study: Study, seed: int | None = None, progress: Progress | None = None) -> None:
        super().__init__(study, seed, progress)
        self._shares = [np.full(size, 1 / size) for size in self.sizes]

    def fit(self, tables: Sequence[Measured]) -> None:
        self._shares = [self._column(j, [t for t in tables if j in t.columns]) for j in range(len(self.sizes))]

    def _column(self, j: int, tables: Sequence[Measured]) -> npt.NDArray[np.float64]:
        """(cells,) shares that are positive and sum to 1, the less noisy tables weighing more."""
        axes = [tuple(a for a, other in enumerate(t.columns) if other != j) for t in tables]
        noises = [t.sigma**2 * t.counts.size / self.sizes[j] for t in tables]
        counts = sum(t.counts.sum(axis=a) / n for t, a, n in zip(tables, axes, noises, strict=True))
        positive = np.maximum(counts, 1e-9)
        return np.asarray(positive / positive.sum())

    def draw(self, rows: int, rng: np.random.Generator, allowed: Weights) -> CodeArray:
        shape = rows, len(self.sizes)
        return self.fill(np.zeros(shape, np.int16), np.zeros(shape, np.bool_), rng, allowed)

    def fill(
        self, codes: CodeArray, known: npt.NDArray[np.bool_], rng: np.random.Generator, weights: Weights
    ) -> CodeArray:
        drawn = [
            one_of_each(np.tile(shares * weights.get(j, np.ones(1)), (len(codes), 1)), rng.random(len(codes)))
            for j, shares in enumerate(self._shares)
        ]
        return np.where(known, codes, np.stack(drawn, axis=1)).astype(np.int16)

    def model(self) -> Tensors:
        return {"shares": np.concatenate(self._shares).astype(np.float32)}

    def restore(self, tensors: Tensors) -> None:
        shares = np.split(tensors["shares"].astype(np.float64), np.cumsum(self.sizes)[:-1])
        if [len(s) for s in shares] != list(self.sizes):
            raise ValueError("shares")
        self._shares = shares
