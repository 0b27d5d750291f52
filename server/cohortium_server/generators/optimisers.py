"""Steps that follow from gradients: descent with momentum, and Adam. Pure functions of what came before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Optimiser(Protocol):
    """Remembers gradients. ``step`` gives the direction that a gradient leads to, at a learning rate of 1."""

    def step(self, gradient: FloatArray) -> tuple[FloatArray, Self]:
        """(parameters,) what to subtract, times the learning rate; and the optimiser that remembers this gradient."""
        ...


@dataclass(frozen=True)
class Momentum:
    """Polyak's heavy ball; with decay 0 plain descent. A step's direction is the decayed sum of all gradients."""

    decay: float = 0.0
    sum: FloatArray | None = None

    def step(self, gradient: FloatArray) -> tuple[FloatArray, Momentum]:
        total = gradient if self.sum is None else self.decay * self.sum + gradient
        return total, Momentum(self.decay, total)


@dataclass(frozen=True)
class Adam:
    """Kingma and Ba 2015, arXiv 1412.6980, Algorithm 1; of average changes it is FedAdam (Reddi et al. 2021, arXiv 2003.00295).

    floor: what is added to the root of the second moment; under noise, that of the noise is in the moment already.
    """

    first: float = 0.9
    second: float = 0.999
    floor: float = 1e-8
    steps: int = 0
    mean: FloatArray | None = None
    square: FloatArray | None = None

    def step(self, gradient: FloatArray) -> tuple[FloatArray, Adam]:
        zero, n = np.zeros_like(gradient), self.steps + 1
        mean = self.first * (zero if self.mean is None else self.mean) + (1 - self.first) * gradient
        square = self.second * (zero if self.square is None else self.square) + (1 - self.second) * gradient**2
        size = np.sqrt(square / (1 - self.second**n)) + self.floor
        return mean / (1 - self.first**n) / size, Adam(self.first, self.second, self.floor, n, mean, square)
