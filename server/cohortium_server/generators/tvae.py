"""tvae: a variational autoencoder that institutions train by DP-SGD, encoder and decoder alike."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from cohortium.neural.vae import Vae
from cohortium_server.generators.cells import Weights
from cohortium_server.generators.optimisers import Adam, Optimiser
from cohortium_server.generators.products import completed
from cohortium_server.generators.trained import TrainedGenerator

FloatArray = npt.NDArray[np.float64]
POINTS = 4096  # latent points that a row to be completed chooses from


class Tvae(TrainedGenerator):
    """Rows are decoded from quasi-random latent numbers, the decoder's biases calibrated to the noised single columns."""

    @cached_property
    def _vae(self) -> Vae:
        network = self._network
        assert isinstance(network, Vae)  # noqa: S101 - the architecture of this kind
        return network

    def optimiser(self) -> Optimiser:
        return Adam()

    def draw(self, rows: int, rng: np.random.Generator, allowed: Weights) -> npt.NDArray[np.int16]:
        return self._vae.sample(self.released, rows, rng, allowed)

    def fill(
        self, codes: npt.NDArray[np.int16], known: npt.NDArray[np.bool_], rng: np.random.Generator, weights: Weights
    ) -> npt.NDArray[np.int16]:
        chances = self._vae.decoded(self.released, POINTS, rng)
        return completed(chances, self._architecture.sizes, codes, known, weights, rng)
