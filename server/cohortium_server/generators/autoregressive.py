"""autoregressive: a masked autoregressive network, trained by DP-SGD at the institutions."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from cohortium.neural.autoregressive import Autoregressive as Network
from cohortium_server.generators.cells import Weights
from cohortium_server.generators.quasi import sobol
from cohortium_server.generators.trained import TrainedGenerator

FloatArray = npt.NDArray[np.float64]
OVERSAMPLING = 8  # rows drawn for one that is kept under conditions


class Autoregressive(TrainedGenerator):
    """Rows are drawn column by column from a Sobol sequence; under conditions by importance resampling."""

    @cached_property
    def _made(self) -> Network:
        made = self._network
        assert isinstance(made, Network)  # noqa: S101 - the architecture of this kind
        return made

    def rate(self, number: int) -> float:
        s = self._setting
        steps = s.rounds * s.steps
        return min(4.0, 0.03 * math.sqrt(200 / steps) / s.noise) * self.fading(number)

    def draw(self, rows: int, rng: np.random.Generator, allowed: Weights) -> npt.NDArray[np.int16]:
        conditions = {j: torch.tensor(cells) for j, cells in allowed.items()}
        needed = rows * (OVERSAMPLING if conditions else 1)
        codes, weights = [], []
        for points in sobol(needed, len(self._architecture.sizes), rng):
            drawn, log_weight = self._made.sample(torch.tensor(self.released), torch.tensor(points), conditions)
            codes.append(drawn.numpy().astype(np.int16))
            weights.append(log_weight.numpy())
        everything = np.concatenate(codes)
        return rng.permutation(everything[_resampled(np.concatenate(weights), rows, rng)] if conditions else everything)

    def fill(
        self, codes: npt.NDArray[np.int16], known: npt.NDArray[np.bool_], rng: np.random.Generator, weights: Weights
    ) -> npt.NDArray[np.int16]:
        told = torch.tensor(codes, dtype=torch.long), torch.tensor(known)
        return self._made.impute(torch.tensor(self.released), *told, rng).numpy().astype(np.int16)


def _resampled(log_weights: FloatArray, rows: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(rows,) positions, each in proportion to its weight, by systematic resampling."""
    weights = np.exp(log_weights - log_weights.max())
    places = (np.arange(rows) + rng.random()) / rows * weights.sum()
    chosen: npt.NDArray[np.int64] = np.searchsorted(np.cumsum(weights), places, side="right")
    return np.minimum(chosen, len(weights) - 1)
