"""Points that fill the unit cube more evenly than chance: a sample drawn from them errs less than a random one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

CHUNK = 1 << 16


def sobol(rows: int, columns: int, rng: np.random.Generator) -> Iterator[npt.NDArray[np.float64]]:
    """``rows`` points of a scrambled Sobol sequence, (at most CHUNK, columns) at a time."""
    sequence = qmc.Sobol(columns, rng=rng)
    size = min(CHUNK, 2 ** max(0, rows - 1).bit_length())  # the sequence is balanced in powers of two
    for start in range(0, rows, size):
        yield sequence.random(size)[: rows - start]
