"""autoregressive: a masked autoregressive model, trained by DP-SGD at the institutions and averaged here."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from cohortium.errors import ReleaseError
from cohortium.neural.made import Made
from cohortium.neural.state import write_state
from cohortium.plan import Phase, column_order, plan
from cohortium.progress import Progress
from cohortium.queries import Query
from cohortium.queries.local_training import LocalTraining
from cohortium.study import Study
from cohortium_server.generators import Allowed, Measured, Sum, Tensors
from cohortium_server.generators.quasi import sobol
from cohortium_server.generators.tables import measured_tables, noised_rows

FloatArray = npt.NDArray[np.float64]
NOISE_STEP = 0.03  # how far the noise of one of 200 steps may move a parameter (docs/generators.md)
LARGEST_RATE = 4.0  # at which the steps of a logistic regression are stable
MEMORY = 0.95  # of the average over steps that is released instead of the last parameters
OVERSAMPLING = 8  # rows drawn for one that is kept under conditions


class Autoregressive:
    """First the single columns, which give the start; then rounds of local training, averaged over persons."""

    def __init__(self, study: Study, seed: int | None = None, progress: Progress | None = None) -> None:
        self._study = study
        self._columns, self._training = plan(study).phases
        self._model = Made(study.schema.sizes, column_order(study))
        self._parameters: FloatArray = np.zeros(self._model.parameters)
        self._average = self._parameters
        self._measured: tuple[Measured, ...] = ()
        self._round = 0

    def ask(self) -> Query | None:
        if not self._measured:
            return self._columns.query
        if self._round == self._training.rounds:
            return None
        state = {"parameters": self._parameters, "rate": np.array([self._rate()])}
        return self._training.query.with_state(write_state(state))

    def tell(self, total: Sum) -> None:
        if not self._measured:
            self._measured = measured_tables(total)
            self._parameters = self._average = self._start()
            return
        self._parameters = self._parameters + total.values[1:] / max(1, int(total.values[0]))
        self._round += 1
        keep = min(MEMORY**self._query.steps, (self._round - 1) / self._round)  # an even average at first
        self._average = keep * self._average + (1 - keep) * self._parameters

    @property
    def _query(self) -> LocalTraining:
        assert isinstance(self._training.query, LocalTraining)  # noqa: S101 - the plan of this kind
        return self._training.query

    def _start(self) -> FloatArray:
        """Independent columns, as noised: log proportions as biases, no weights."""
        logs = [np.log(np.maximum(table.counts, max(0.5, table.sigma))) for table in self._measured]
        return np.concatenate([np.zeros(self._model.weights), *(biases - biases.mean() for biases in logs)])

    def _rate(self) -> float:
        """The learning rate at which one step's noise moves a parameter by NOISE_STEP, falling at the end.

        It follows from the noise and the noised number of rows. Of 200 steps; more steps move less each.
        """
        phase: Phase = self._training
        steps = phase.rounds * self._query.steps
        noise = phase.multiplier * math.sqrt(len(self._study.institutions)) / (self._query.sampling_rate * self.rows)
        rate = min(LARGEST_RATE, NOISE_STEP * math.sqrt(200 / steps) / (noise * self._query.clip))
        return rate * min(1.0, 1.5 * (1 - self._round / phase.rounds))

    @property
    def rows(self) -> int:
        return noised_rows(self._measured)

    @property
    def measured(self) -> tuple[Measured, ...]:
        return self._measured

    def sample(self, rows: int, rng: np.random.Generator, allowed: Allowed) -> npt.NDArray[np.int16]:
        """Column by column, from a Sobol sequence. Under conditions by importance resampling: conditioned columns
        keep to their cells, and rows are kept with the chance that the model had of drawing them so by itself.
        """
        conditions = {j: torch.tensor(cells) for j, cells in allowed.items()}
        needed = rows * (OVERSAMPLING if conditions else 1)
        codes, weights = [], []
        for points in sobol(needed, len(self._study.schema.sizes), rng):
            drawn, log_weight = self._model.sample(torch.tensor(self._average), torch.tensor(points), conditions)
            codes.append(drawn.numpy().astype(np.int16))
            weights.append(log_weight.numpy())
        everything = np.concatenate(codes)
        return rng.permutation(everything[_resampled(np.concatenate(weights), rows, rng)] if conditions else everything)

    def tensors(self) -> Tensors:
        return {"parameters": self._average.astype(np.float32)}

    @classmethod
    def from_tensors(cls, study: Study, tensors: Tensors) -> Self:
        generator = cls(study)
        parameters = tensors.get("parameters")
        if (
            parameters is None
            or set(tensors) != {"parameters"}
            or parameters.shape != generator._average.shape
            or not np.isfinite(parameters).all()
        ):
            raise ReleaseError(
                "E_RELEASE_TOUCHED",
                "model.safetensors",
                "it does not hold this study's model",
                "Get the release again.",
            )
        generator._average = parameters.astype(np.float64)
        return generator


def _resampled(log_weights: FloatArray, rows: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(rows,) positions, each in proportion to its weight, by systematic resampling."""
    weights = np.exp(log_weights - log_weights.max())
    places = (np.arange(rows) + rng.random()) / rows * weights.sum()
    chosen: npt.NDArray[np.int64] = np.searchsorted(np.cumsum(weights), places, side="right")
    return np.minimum(chosen, len(weights) - 1)
