"""A network that institutions train: a logistic regression of the last target on all other columns.

In the product this file would lie in ``common/cohortium/neural/``; docs/extending.md has the other places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cohortium.neural import exact
from cohortium.neural.network import Layer, Tape, Tensor, length

FloatArray = npt.NDArray[np.float64]


class Regression:
    """sizes: cells of each column. order: all columns, the target last. A view is the row itself: nothing is drawn."""

    views, draws = 1, 0

    def __init__(self, sizes: tuple[int, ...], order: tuple[int, ...]) -> None:
        self.sizes, self._target = sizes, order[-1]
        start = sum(sizes[: self._target])
        self._own = slice(start, start + sizes[self._target])
        columns = np.repeat(np.arange(len(sizes)), sizes)
        sees = tuple(int(j == self._target) for j in columns)  # an output sees inputs of lower rank: not the target's
        ranks = (1,) * sizes[self._target], sees
        self.layers: tuple[Layer, ...] = (Layer("target", sum(sizes), sizes[self._target], one_hot=True, ranks=ranks),)

    def loss(self, tape: Tape, codes: Tensor, uniforms: Tensor) -> Tensor:
        """(rows,) minus the logarithm of the chance that the row's target has, given the row's other columns."""
        x = exact.one_hot(codes, self.sizes)
        return exact.cross_entropy(tape.linear("target", x), x[:, self._own], (self.sizes[self._target],))

    def start(self, logs: Sequence[FloatArray], rng: np.random.Generator) -> FloatArray:
        """No weight, and as biases the logarithms of the target's noised counts."""
        biases = logs[self._target]
        return np.concatenate([np.zeros(length(self) - len(biases)), biases])

    def default_clip(self, multiplier: float) -> float:
        """What no row's gradient exceeds: an error's length is at most sqrt(2), an input's, with the bias, sqrt(columns)."""
        return 1.01 * math.sqrt(2 * len(self.sizes))

    def evened(self, gradient: FloatArray) -> FloatArray:
        """The gradient itself."""
        return gradient
