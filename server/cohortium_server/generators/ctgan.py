"""ctgan: institutions answer about a critic, and the game between critic and generator is the coordinator's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cohortium.study.study import Study
from cohortium.system.progress import Progress
from cohortium_server.generators import Curve, Tensors
from cohortium_server.generators.cells import Weights
from cohortium_server.generators.gan import GanGenerator
from cohortium_server.generators.product_mixture import completed
from cohortium_server.generators.trained import TrainedGenerator

FloatArray = npt.NDArray[np.float64]


class Ctgan(TrainedGenerator):
    """Every answer is one noised mean of the real rows' scores; after the last one the game is played."""

    def __init__(self, study: Study, seed: int | None = None, progress: Progress | None = None) -> None:
        super().__init__(study, seed, progress)
        self._gan = GanGenerator(self._architecture.sizes, self._architecture.order)
        self._distances: list[float] = []

    def start(self, logs: Sequence[FloatArray]) -> None:
        self._gan.start(logs, self._rng)

    def warm(self, codes: npt.NDArray[np.int16]) -> None:
        self._gan.practise(codes, self._progress)

    def pulled(self, gradient: FloatArray) -> None:
        self._gan.add_answer(gradient, self._setting.noise)
        if self._training_round == self._training.rounds - 1:
            self._distances = self._gan.play(self._progress)

    @property
    def curves(self) -> tuple[Curve, ...]:
        return (Curve("squared distance of the means that the critic tells apart", tuple(self._distances)),)

    def draw(self, rows: int, rng: np.random.Generator, allowed: Weights) -> npt.NDArray[np.int16]:
        return self._gan.sample(rows, rng, allowed)

    def fill(
        self, codes: npt.NDArray[np.int16], known: npt.NDArray[np.bool_], rng: np.random.Generator, weights: Weights
    ) -> npt.NDArray[np.int16]:
        return completed(self._gan.chances(), self._architecture.sizes, codes, known, weights, rng)

    def model(self) -> Tensors:
        return self._gan.tensors()

    @property
    def model_lengths(self) -> dict[str, int]:
        return self._gan.lengths

    def put(self, tensors: Tensors) -> None:
        self._gan = GanGenerator.from_tensors(self._architecture.sizes, self._architecture.order, tensors)
