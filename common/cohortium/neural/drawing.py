"""Sampling of rows: from probabilities by one uniform number each, by importance weights, and from quasi-random points."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cohortium.system.progress import listener

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 1 << 15  # points
LEAST = -1e300  # the logarithm of a weight that is as good as none


def sobol(rows: int, columns: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.float64]]:
    """``rows`` points of a scrambled Sobol sequence, (at most CHUNK, columns) at a time.

    They fill the unit cube more evenly than random points, so a sample drawn from them has a smaller error.
    """
    from scipy.stats import qmc

    sequence = qmc.Sobol(columns, rng=rng)
    size = min(CHUNK, 2 ** max(0, rows - 1).bit_length())  # the sequence is balanced in powers of two
    progress = listener()
    progress.start(rows, "drawing rows")
    try:
        for start in range(0, rows, size):
            yield sequence.random(size)[: rows - start]
            progress.advance(min(size, rows - start))
    finally:  # who needs no more of them leaves it here
        progress.done()


def one_of(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """(rows,) int64, a place of each row in proportion to (rows, places) chances, by a uniform number (rows,) each.

    chances: or (places,), the same for all rows. Never an impossible place where another is possible, though rounding may
    step past the end of the ladder.
    """
    import torch  # which takes a second to load; most of this is used without it

    ladder = probabilities.cumsum(-1).double()
    steps = uniforms * ladder[..., -1]
    drawn = torch.searchsorted(ladder, steps if probabilities.ndim == 1 else steps[:, None], right=True).flatten()
    last = probabilities.shape[-1] - 1 - (probabilities > 0).flip(-1).int().argmax(-1)
    return torch.minimum(drawn, last)


def one_of_each(probabilities: npt.NDArray[np.floating], uniforms: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """``one_of`` without torch, for (rows, places) chances."""
    ladder = probabilities.cumsum(-1, dtype=np.float64)
    drawn = (ladder <= (uniforms * ladder[:, -1])[:, None]).sum(-1)
    last = probabilities.shape[-1] - 1 - (probabilities > 0)[:, ::-1].argmax(-1)
    places: npt.NDArray[np.int64] = np.minimum(drawn, last).astype(np.int64)
    return places


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
