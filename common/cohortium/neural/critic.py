"""The critic of a conditional tabular GAN: what institutions answer about. Its generator is the coordinator's, ``gan.GanGenerator``.

Model. A projection discriminator (Miyato & Koyama 2018, arXiv 1802.05637): under the condition that column j has the
value v, a row x scores V[j, v] · x. CTGAN (Xu et al. 2019, arXiv 1907.00503) draws the condition's column at random
for every row; here a row's score is the sum over all columns as its condition, every pair once, which is the same in
expectation and has no variance: a bilinear form in the one-hot codes,

    score(x) = Σ_(i < j) V[x_i, x_j] + Σ_j V[x_j].

Where the target (the last column in ``order``) has few cells there is one such form for each of them, chosen by the
row's own target, so that the critic sees every pair of columns given the target.

Loss of a real row: -score, the real rows' term of a Wasserstein critic (Arjovsky et al. 2017, arXiv 1701.07875). The
fake rows' term and the critic's regulariser touch no real row and are the coordinator's.

What is different from CTGAN, and why. CTGAN's critic is a deep network held smooth by a gradient penalty: under noise,
and at the number of rounds a federation can pay, it hardly improves. This one is linear in its parameters, so
the gradient at a real row

* does not depend on the parameters: one round carries the information of any number of rounds, and answers of several
  rounds may be averaged without loss;
* is made of zeros and ones, and equally long at all rows: with ``default_clip`` nothing is ever clipped;
* leaves the coordinator free to play the game to its end with the one noised answer, however many steps that takes.

There is no pac (a person's rows would no longer be alone in their loss) and no normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from cohortium.neural import exact
from cohortium.neural.network import Layer, Tape, Tensor

FloatArray = npt.NDArray[np.float64]
MOST_TARGET_CELLS = 4  # a pair's table is asked in at most this many slices, each as noisy as the whole would be
ROUNDING = 1.01  # what clipping keeps back so that rounding makes nobody too long, generously


class Critic:
    """order: the columns' positions, the target last. A view is the row itself: nothing is drawn."""

    views, draws = 1, 0

    def __init__(self, sizes: tuple[int, ...], order: tuple[int, ...]) -> None:
        self.sizes, self.order = sizes, order
        few = len(sizes) > 1 and sizes[order[-1]] <= MOST_TARGET_CELLS
        self._target = order[-1] if few else None
        self._slices = sizes[order[-1]] if few else 1
        columns = np.repeat(np.arange(len(sizes)), sizes)
        self._scored = torch.tensor(np.flatnonzero(columns != self._target))
        self._given = torch.tensor(np.flatnonzero(columns == self._target))
        self.layers: tuple[Layer, ...] = (self._pairs(columns),)

    def _pairs(self, columns: npt.NDArray[np.int64]) -> Layer:
        """Inputs: all cells. Outputs: for every slice the scored cells; each sees the columns before its own."""
        ranks = np.argsort(self.order)[columns]
        outputs = np.tile(ranks[self._scored.numpy()], self._slices)
        inputs = np.where(columns == self._target, len(self.sizes), ranks)  # the target chooses; it is no input
        shape = tuple(int(r) for r in outputs), tuple(int(r) for r in inputs)
        return Layer("pairs", len(inputs), len(outputs), True, shape)

    def score(self, tape: Tape, x: Tensor) -> Tensor:
        """(rows,) how real rows look. x: (rows, cells), one-hot codes, or chances of cells independent of one another:
        being linear in every single column, it then is the mean score of rows drawn with these chances.
        """
        scored = x[:, self._scored.to(x.device)]
        if self._target is not None:
            given = x[:, self._given.to(x.device)]
            scored = (given[:, :, None] * scored[:, None, :]).flatten(1)
        return (tape.linear("pairs", x) * scored).sum(1)

    def loss(self, tape: Tape, codes: Tensor, uniforms: Tensor) -> Tensor:
        """(rows,) the loss of real rows; ``uniforms`` are not used."""
        return -self.score(tape, exact.one_hot(codes, self.sizes))

    def start(self, logs: Sequence[FloatArray], rng: np.random.Generator) -> FloatArray:
        """A critic without an opinion. The start at the single columns, ``logs``, is the generator's."""
        return np.zeros(sum(layer.parameters for layer in self.layers))

    def default_clip(self, multiplier: float) -> float:
        """A little more than the length of every row's gradient, whatever the noise: one for every pair and column."""
        columns = len(self.sizes) - (self._target is not None)
        return ROUNDING * math.sqrt(columns * (columns + 1) / 2)

    def evened(self, gradient: FloatArray) -> FloatArray:
        """The gradient itself: no two of its coordinates are redundant."""
        return gradient
