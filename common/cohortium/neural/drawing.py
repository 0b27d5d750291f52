"""How rows are drawn from chances: by one uniform number each, and by importance weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

Tensor = torch.Tensor
LEAST = -1e300  # the logarithm of a weight that is as good as none


def one_of(chances: Tensor, uniforms: Tensor) -> Tensor:
    """(rows,) int64, a place of each row in proportion to (rows, places) chances, by a uniform number (rows,) each.

    Never an impossible place where another is possible, though rounding may step past the end of the ladder.
    """
    ladder = chances.cumsum(1)
    drawn = (ladder <= uniforms[:, None] * ladder[:, -1:]).sum(1)
    last = chances.shape[1] - 1 - (chances > 0).flip(1).int().argmax(1)
    return torch.minimum(drawn, last)


def resampled(log_weights: npt.NDArray[np.float64], rows: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(rows,) positions, each in proportion to its weight, by systematic resampling in random order.

    In random order, because what is chosen from may be a Sobol sequence: every eighth point of one fills only a part of
    the cube. Where all are impossible, -inf, any of them.
    """
    order = rng.permutation(len(log_weights))
    finite = np.maximum(log_weights, LEAST)
    weights = np.exp(finite - finite.max())[order]
    places = (np.arange(rows) + rng.random()) / rows * weights.sum()
    chosen = np.minimum(np.searchsorted(np.cumsum(weights), places, side="right"), len(weights) - 1)
    positions: npt.NDArray[np.int64] = order[chosen]
    return positions
