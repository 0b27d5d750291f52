"""diffusion: covered cells are uncovered by a network that institutions train by DP-SGD."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from cohortium.neural.diffusion import COVERED
from cohortium.neural.diffusion import Diffusion as Network
from cohortium_server.generators.cells import Weights
from cohortium_server.generators.quasi import sobol
from cohortium_server.generators.trained import TrainedGenerator


class Diffusion(TrainedGenerator):
    """Rows are uncovered column by column in random orders, what is known or conditioned first."""

    @cached_property
    def _uncovering(self) -> Network:
        network = self._network
        assert isinstance(network, Network)  # noqa: S101 - the architecture of this kind
        return network

    def draw(self, rows: int, rng: np.random.Generator, allowed: Weights) -> npt.NDArray[np.int16]:
        points = sobol(rows, len(self._architecture.sizes), rng)
        drawn = [self._uncovering.sample(self.released, part, rng, allowed) for part in points]
        return rng.permutation(np.concatenate(drawn))

    def fill(
        self, codes: npt.NDArray[np.int16], known: npt.NDArray[np.bool_], rng: np.random.Generator, weights: Weights
    ) -> npt.NDArray[np.int16]:
        covered = np.where(known, codes, COVERED).astype(np.int16)
        return self._uncovering.fill(self.released, covered, rng.random(codes.shape), rng)
