"""sweep: all pairs of columns in one round, and a mixture of product distributions fitted to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cohortium.study.generators import Histories as HistoriesPlan
from cohortium.study.generators import Sweep as SweepPlan
from cohortium.study.study import Study
from cohortium.system.progress import Progress
from cohortium_server.generators import Measured, Tensors
from cohortium_server.generators.cells import Weights
from cohortium_server.generators.counted import CountedGenerator
from cohortium_server.generators.mixture import component_chances, draw
from cohortium_server.generators.product_mixture import completed
from cohortium_server.generators.tables import as_shares, without_impossible

if TYPE_CHECKING:  # it needs torch, as drawing does not
    from cohortium_server.generators.contest import Contest

CodeArray = npt.NDArray[np.int16]


class Sweep(CountedGenerator):
    """Every pair table, and every pair crossed with the targets. Then a fit that stops at the noise."""

    def __init__(self, study: Study, seed: int | None = None, progress: Progress | None = None) -> None:
        super().__init__(study, seed, progress)
        self._logits = np.zeros((1, sum(self.sizes)), np.float32)
        self._contest: Contest | None = None

    def fit(self, tables: Sequence[Measured]) -> None:
        from cohortium.neural.device import best_device
        from cohortium_server.generators.fitting import fit  # needs torch, as drawing does not

        study, chosen = self._study, self._study.generator
        told = as_shares(without_impossible(study.schema, tables), self.rows, study.target_indices)
        components = chosen.components if isinstance(chosen, SweepPlan | HistoriesPlan) else 0
        targets = study.target_indices
        found = fit(self.sizes, told, components, self._seed, best_device(), self._progress, targets)
        self._logits, self._contest = found.logits, found.contest

    @property
    def contest(self) -> Contest | None:
        """How the fit compared with independent columns; None where it was not fitted here."""
        return self._contest

    @property
    def is_independent(self) -> bool:
        """Whether its columns are independent of one another."""
        return len(self._logits) == 1

    def draw(self, rows: int, rng: np.random.Generator, allowed: Weights) -> CodeArray:
        return draw(self._logits, self.sizes, rows, rng, allowed, self._study.target_indices)

    def fill(
        self, codes: CodeArray, known: npt.NDArray[np.bool_], rng: np.random.Generator, weights: Weights
    ) -> CodeArray:
        return completed(component_chances(self._logits, self.sizes), self.sizes, codes, known, weights, rng)

    def chances(self, j: int) -> npt.NDArray[np.floating]:
        """(components, cells of the schema) of column ``j``: what answers with errors are computed from."""
        start, size = sum(self.sizes[:j]), self.sizes[j]
        return self._cells.spread_chances(j, component_chances(self._logits[:, start : start + size], (size,)))

    def model(self) -> Tensors:
        return {"logits": self._logits}

    def restore(self, tensors: Tensors) -> None:
        if {k: t.shape[1:] for k, t in tensors.items()} != {"logits": (sum(self.sizes),)}:
            raise ValueError("logits")
        self._logits = tensors["logits"].astype(np.float32)
