"""diffusion: covered cells are uncovered by a network that institutions train by DP-SGD."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from cohortium.neural.diffusion import COVERED
from cohortium.neural.diffusion import Diffusion as Network
from cohortium.neural.drawing import sobol
from cohortium_server.generators.cells import Weights
from cohortium_server.generators.optimisers import Momentum, Optimiser
from cohortium_server.generators.trained import TrainedGenerator

HEAVY, LOCAL_HEAVY = 0.9, 0.7  # momentum of gradients, and of changes after the institutions' own steps
LARGEST_RATE, QUIET = 150.0, 3.7e-4  # of a single column; and times the variance of a coordinate's noise
STEADY = 1.5  # a step at which the logistic regression of a lone column does not swing


class Diffusion(TrainedGenerator):
    """Rows are uncovered column by column in random orders, what is known or conditioned first."""

    @cached_property
    def _uncovering(self) -> Network:
        network = self._network
        assert isinstance(network, Network)  # noqa: S101 - the architecture of this kind
        return network

    @property
    def memory(self) -> float:
        return 0.97

    def optimiser(self, local: bool) -> Optimiser:
        return Momentum(LOCAL_HEAVY if local else HEAVY)

    def rate(self, number: int) -> float:
        """The stronger the noise, the shorter the steps, by its variance: small tables would be trained on noise else."""
        s = self._setting
        most = LARGEST_RATE / (len(self._architecture.sizes) + 1)
        heavy = LOCAL_HEAVY if self._local else HEAVY
        return min(STEADY, (1 - heavy) * min(most, QUIET / s.noise**2)) * self.fading(number)

    def draw(self, rows: int, rng: np.random.Generator, allowed: Weights) -> npt.NDArray[np.int16]:
        points = sobol(rows, len(self._architecture.sizes), rng)
        drawn = [self._uncovering.sample(self.released, part, rng, allowed) for part in points]
        return rng.permutation(np.concatenate(drawn))

    def fill(
        self, codes: npt.NDArray[np.int16], known: npt.NDArray[np.bool_], rng: np.random.Generator, weights: Weights
    ) -> npt.NDArray[np.int16]:
        covered = np.where(known, codes, COVERED).astype(np.int16)
        return self._uncovering.fill(self.released, covered, rng.random(codes.shape), rng, weights)
