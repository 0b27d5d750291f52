"""autoregressive: a masked autoregressive network, trained by DP-SGD at the institutions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from cohortium_server.generators.cells import Weights
from cohortium_server.generators.quasi import sobol
from cohortium_server.generators.trained import TrainedGenerator

FloatArray = npt.NDArray[np.float64]
NOISE_STEP = 0.03  # how far the noise of one of 200 steps may move a parameter (docs/generators.md)
LARGEST_RATE = 4.0  # at which the steps of a logistic regression are stable
MEMORY = 0.95  # of the average over steps that is released instead of the last parameters
OVERSAMPLING = 8  # rows drawn for one that is kept under conditions


class Autoregressive(TrainedGenerator):
    _average: FloatArray

    def rate(self, number: int) -> float:
        s = self._setting
        steps = s.rounds * s.steps
        rate = min(LARGEST_RATE, NOISE_STEP * math.sqrt(200 / steps) / s.noise)
        return rate * min(1.0, 1.5 * (1 - number / s.rounds))

    def pulled(self, gradient: FloatArray) -> None:
        self.moved(-self.rate(self._training_round) * self._network.evened(gradient))

    def moved(self, change: FloatArray) -> None:
        number = self._training_round
        before = self._average if number else self._parameters
        self._parameters = self._parameters + change
        keep = min(MEMORY**self._setting.steps, number / (number + 1))  # an even average at first
        self._average = keep * before + (1 - keep) * self._parameters

    @property
    def released(self) -> FloatArray:
        return self._average

    def _restore(self, tensors):
        super()._restore(tensors)
        self._average = self._parameters

    def draw(self, rows: int, rng: np.random.Generator, allowed: Weights) -> npt.NDArray[np.int16]:
        conditions = {j: torch.tensor(cells) for j, cells in allowed.items()}
        needed = rows * (OVERSAMPLING if conditions else 1)
        codes, weights = [], []
        for points in sobol(needed, len(self._architecture.sizes), rng):
            drawn, log_weight = self._network.made.sample(torch.tensor(self._average), torch.tensor(points), conditions)
            codes.append(drawn.numpy().astype(np.int16))
            weights.append(log_weight.numpy())
        everything = np.concatenate(codes)
        return rng.permutation(everything[_resampled(np.concatenate(weights), rows, rng)] if conditions else everything)


def _resampled(log_weights: FloatArray, rows: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(rows,) positions, each in proportion to its weight, by systematic resampling."""
    weights = np.exp(log_weights - log_weights.max())
    places = (np.arange(rows) + rng.random()) / rows * weights.sum()
    chosen: npt.NDArray[np.int64] = np.searchsorted(np.cumsum(weights), places, side="right")
    return np.minimum(chosen, len(weights) - 1)
