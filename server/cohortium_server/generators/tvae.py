"""tvae: a variational autoencoder that institutions train by DP-SGD, encoder and decoder alike."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cohortium.neural.vae import Vae
from cohortium_server.generators.cells import Weights
from cohortium_server.generators.optimisers import Adam, Optimiser
from cohortium_server.generators.product_mixture import completed
from cohortium_server.generators.trained import FEDADAM, TrainedGenerator

FloatArray = npt.NDArray[np.float64]
ADAM_RATE = 0.03  # of 200 rounds
POINTS = 4096  # latent points that a row to be completed chooses from


class Tvae(TrainedGenerator):
    """Rows are decoded from quasi-random latent numbers, the decoder's biases calibrated to the noised single columns."""

    @cached_property
    def _vae(self) -> Vae:
        network = self._network
        assert isinstance(network, Vae)  # noqa: S101 - the architecture of this kind
        return network

    @property
    def memory(self) -> float:
        return 0.7 ** (1 / self._setting.steps) if self._local else 0.97

    def optimiser(self, local: bool) -> Optimiser:
        return Adam(*FEDADAM) if local else Adam(0.8, 0.99)

    def rate(self, number: int) -> float:
        """Adam's own, or that of the institutions' steps: along a gradient as long as the clip, by 1."""
        s = self._setting
        rate = 1.0 / s.clip if self._local else ADAM_RATE * math.sqrt(200 / s.rounds)
        return rate * self.fading(number)

    def finished(self, parameters: FloatArray) -> FloatArray:
        return self._vae.calibrated(parameters, self.merged_counts, self.merged_sigmas)

    def draw(self, rows: int, rng: np.random.Generator, allowed: Weights) -> npt.NDArray[np.int16]:
        return self._vae.sample(self.released, rows, rng, allowed)

    def fill(
        self, codes: npt.NDArray[np.int16], known: npt.NDArray[np.bool_], rng: np.random.Generator, weights: Weights
    ) -> npt.NDArray[np.int16]:
        chances = self._vae.decoded(self.released, POINTS, rng)
        return completed(chances, self._architecture.sizes, codes, known, weights, rng)
