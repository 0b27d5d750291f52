"""Many steps of DP-SGD at the institution, then one message (Abadi et al. 2016, arXiv 1607.00133, at one client).

Every step is that of ``gradients``: a Poisson sample of the persons, their clipped gradients summed on an integer grid,
integer noise. Whatever is computed from the noised sums afterwards costs nothing more. The institution's number of
persons, which the average gradient is divided by, is a noised count of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cohortium.data.encoding import Codes
from cohortium.errors import StudyError
from cohortium.privacy.accounting import Events, Gaussian
from cohortium.privacy.discrete_gaussian import Bounded, Noised, Scales, add_noise
from cohortium.privacy.randomness import Randomness
from cohortium.queries.gradients import FloatArray32, People, Step

FloatArray = npt.NDArray[np.float64]
OUT_GRID = 2.0**20  # grid units of 1 in the message
OUT_LIMIT = 2.0**50
COUNT_SHARE = 0.02  # part of the privacy of a message that the count of persons takes
COUNT_NOISE = 4096.0  # persons; more noise than this saves next to nothing
RATE = {"rate": 1}  # in a state, beside what a step takes
COUNT_SCALES = Scales(((1, 1.0),))


@dataclass(frozen=True)
class LocalTraining:
    """``steps`` steps of SGD from the coordinator's model; the answer moves the model by a weighted sum.

    The answer is (weight, weight * change of parameters) on a grid; adding up the answers and dividing by the sum of
    the weights gives the average change in which every person weighs the same.

    state: flat parameters and learning rate (safetensors), from the coordinator.

    Formal guarantee. ``steps`` Gaussian mechanisms on Poisson samples of persons, as in ``Step``; the count is one
    more Gaussian mechanism. What follows from them is post-processing.
    """

    step: Step
    steps: int
    state: bytes = b""
    kind = "local-training"
    shares_noise = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise StudyError("E_PLAN_PRIVACY", "local training", "it has no steps", "Correct the study.")

    @property
    def width(self) -> int:
        return 1 + self.step.parameters

    def with_state(self, state: bytes) -> Self:
        self.step.read(state, RATE)
        return replace(self, state=state)

    def events(self, multiplier: float) -> Events:
        step = Gaussian(self.step.effective_multiplier(multiplier), self.step.sampling_rate, self.steps)
        return (Gaussian(self._count_multiplier(multiplier)), step)

    def _count_multiplier(self, multiplier: float) -> float:
        """Noise of the count over its sensitivity, such that it costs about COUNT_SHARE of the steps together."""
        return min(multiplier / (self.step.sampling_rate * math.sqrt(self.steps * COUNT_SHARE)), COUNT_NOISE)

    def draws(self, multiplier: float) -> tuple[int, float]:
        scale = max(multiplier * self.step.sensitivity(multiplier), 128 + self._count_multiplier(multiplier))
        return 1 + self.steps * self.step.parameters, scale

    def reach(self, persons: int) -> int:
        raise ValueError("its noise is inside each step: answers are no sums plus noise")

    def answer(self, codes: Codes, multiplier: float, randomness: Randomness) -> Noised:
        state = self.step.read(self.state, RATE)
        people = self.step.people(codes, state, randomness)
        weight = self._noised_count(people, multiplier, randomness)
        moved = self._train(people, state, weight, multiplier, randomness)
        message = np.concatenate([[1.0], moved]) * weight * OUT_GRID
        return Noised(np.clip(np.nan_to_num(message), -OUT_LIMIT, OUT_LIMIT).round().astype(np.int64))

    def _noised_count(self, people: People, multiplier: float, randomness: Randomness) -> float:
        """The number of persons with noise, at least as large as its noise: too small a divisor would blow noise up."""
        noise = self._count_multiplier(multiplier)
        grid = max(1, math.ceil(64 / noise))
        count = Bounded(np.array([people.count * grid]), float(grid), COUNT_SCALES)
        units = noise * math.sqrt(1 + 4 / (noise * grid) ** 2)  # so that the discrete noise is worth ``noise``
        return max(float(add_noise(count, units, randomness).values[0]) / grid, noise, 1.0)

    def _train(
        self, people: People, state: dict[str, FloatArray32], persons: float, multiplier: float, randomness: Randomness
    ) -> FloatArray:
        """(parameters,) the change after all steps."""
        network = self.step.architecture.network
        rate = float(state["rate"][0]) / (self.step.sampling_rate * persons)
        begin = parameters = state["parameters"].astype(np.float64)
        for _ in range(self.steps):
            noised = self.step.noised(people, parameters, multiplier, randomness)
            parameters = parameters - rate * network.evened(self.step.in_gradients(noised.values, multiplier))
        moved: FloatArray = parameters - begin
        return moved

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "steps": self.steps, **self.step.describe()}
