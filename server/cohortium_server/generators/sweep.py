"""sweep: all pairs of columns in one round, and a mixture of product distributions fitted to them."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from cohortium.errors import ReleaseError
from cohortium.neural.device import best_device, one_thread
from cohortium.plan import plan
from cohortium.progress import Progress, Silent
from cohortium.queries.marginals import Marginals
from cohortium.study import Study
from cohortium.study import Sweep as SweepPlan
from cohortium_server.generators import Allowed, Curve, Measured, Sum, Tensors
from cohortium_server.generators.mixture import Table, component_chances, draw, fit
from cohortium_server.generators.products import completed
from cohortium_server.generators.tables import crossing, measured_tables, noised_rows


class Sweep:
    """One round: every pair table, and every pair crossed with the targets. Then a fit that stops at the noise."""

    def __init__(self, study: Study, seed: int | None = None, progress: Progress | None = None) -> None:
        self._study, self._seed, self._progress = study, seed, progress or Silent()
        self._query = plan(study).phases[0].query
        self._logits: npt.NDArray[np.float32] | None = None
        self._measured: tuple[Measured, ...] = ()

    def ask(self) -> Marginals | None:
        assert isinstance(self._query, Marginals)  # noqa: S101 - the plan of this kind
        return None if self._measured else self._query

    def tell(self, total: Sum) -> None:
        assert isinstance(total.query, Marginals)  # noqa: S101 - what was asked
        self._measured = measured_tables(total)
        rows, targets = self.rows, self._study.target_indices
        tables = [
            Table(m.columns, m.counts / rows, m.sigma / rows, crossing(m.columns, targets)) for m in self._measured
        ]
        chosen = self._study.generator
        components = chosen.components if isinstance(chosen, SweepPlan) else 0
        with one_thread():
            self._logits = fit(self._study.schema.sizes, tables, components, self._seed, best_device(), self._progress)

    @property
    def rows(self) -> int:
        return noised_rows(self._measured)

    @property
    def measured(self) -> tuple[Measured, ...]:
        return self._measured

    @property
    def curves(self) -> tuple[Curve, ...]:
        return ()

    def sample(self, rows: int, rng: np.random.Generator, allowed: Allowed) -> npt.NDArray[np.int16]:
        assert self._logits is not None  # noqa: S101 - a generator is sampled after it was told
        return draw(self._logits, self._study.schema.sizes, rows, rng, allowed)

    def complete(
        self, codes: npt.NDArray[np.int16], known: npt.NDArray[np.bool_], rng: np.random.Generator, allowed: Allowed
    ) -> npt.NDArray[np.int16]:
        assert self._logits is not None  # noqa: S101 - as above
        sizes = self._study.schema.sizes
        return completed(component_chances(self._logits, sizes), sizes, codes, known, allowed, rng)

    def tensors(self) -> Tensors:
        assert self._logits is not None  # noqa: S101 - as above
        return {"logits": self._logits}

    @classmethod
    def from_tensors(cls, study: Study, tensors: Tensors) -> Self:
        logits = tensors.get("logits")
        width = sum(study.schema.sizes)
        if (
            logits is None
            or set(tensors) != {"logits"}
            or logits.ndim != 2
            or logits.shape[1] != width
            or not np.isfinite(logits).all()
        ):
            raise ReleaseError(
                "E_RELEASE_TOUCHED",
                "model.safetensors",
                "it does not hold this study's mixture",
                "Get the release again.",
            )
        generator = cls(study)
        generator._logits = logits.astype(np.float32)
        return generator
