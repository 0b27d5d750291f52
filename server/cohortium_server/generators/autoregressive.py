"""autoregressive: a masked autoregressive network, trained by DP-SGD at the institutions."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from cohortium.neural.autoregressive import Autoregressive as Network
from cohortium.neural.drawing import resampled, sobol
from cohortium_server.generators.cells import Weights
from cohortium_server.generators.optimisers import Momentum, Optimiser
from cohortium_server.generators.trained import TrainedGenerator

FloatArray = npt.NDArray[np.float64]
MOVE, LOCAL_MOVE = (0.004, 2.4), (0.04, 3.0)  # of 100 steps; and the largest learning rate (docs/generators.md)
OVERSAMPLING = 8  # rows drawn for one that is kept under conditions


class Autoregressive(TrainedGenerator):
    """Rows are drawn column by column from a Sobol sequence; under conditions by importance resampling."""

    @cached_property
    def _made(self) -> Network:
        made = self._network
        assert isinstance(made, Network)  # noqa: S101 - the architecture of this kind
        return made

    @property
    def memory(self) -> float:
        return 0.6 ** (1 / self._setting.steps) if self._local else 0.95

    def optimiser(self, local: bool) -> Optimiser:
        return Momentum(0.0 if local else 0.9)

    def rate(self, number: int) -> float:
        """Such that one step's noise moves a parameter by a set length, shorter the more steps there are; and no more than
        is stable, in proportion to what the loss is divided by.
        """
        s = self._setting
        moved, largest = LOCAL_MOVE if self._local else MOVE
        steady = largest * self._expected_length
        return min(steady, moved * math.sqrt(100 / (s.rounds * s.steps)) / s.noise) * self.fading(number)

    @cached_property
    def _expected_length(self) -> float:
        """Of a row's gradient: it depends on the single columns alone, which are told and not trained."""
        return self._made.expected_length(self._average)

    def draw(self, rows: int, rng: np.random.Generator, allowed: Weights) -> npt.NDArray[np.int16]:
        conditions = {j: torch.tensor(cells) for j, cells in allowed.items()}
        needed = rows * (OVERSAMPLING if conditions else 1)
        codes, weights = [], []
        for points in sobol(needed, len(self._architecture.sizes), rng):
            drawn, log_weight = self._made.sample(torch.tensor(self.released), torch.tensor(points), conditions)
            codes.append(drawn.numpy().astype(np.int16))
            weights.append(log_weight.numpy())
        everything = np.concatenate(codes)
        return rng.permutation(everything[resampled(np.concatenate(weights), rows, rng)] if conditions else everything)

    def fill(
        self, codes: npt.NDArray[np.int16], known: npt.NDArray[np.bool_], rng: np.random.Generator, weights: Weights
    ) -> npt.NDArray[np.int16]:
        told = torch.tensor(codes, dtype=torch.long), torch.tensor(known)
        allowed = {j: torch.tensor(cells) for j, cells in weights.items()}
        return self._made.impute(torch.tensor(self.released), *told, rng, allowed).numpy().astype(np.int16)
