"""Single columns of a mixture kept within what their noise allows: a fit to all tables may lose a share that was measured well.

A fit stops early and moves all logits by like steps, so that a rare class may end where no noised table has it. What each column was
measured to be is the mean of its tables, by precision. Where the model is more than two standard deviations away, all components'
chances of a cell are multiplied by one factor, found by raking (iterative proportional fitting, Deming and Stephan 1940): what the
components say of other columns stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cohortium_server.generators.shares import Table

FloatArray = npt.NDArray[np.float64]
DOUBT = 2.0  # standard deviations
ROUNDS, NEAR = 200, 1e-6
LEAST = 1e-9


def raked(logits: npt.NDArray[np.float32], sizes: Sequence[int], alone: Sequence[Table]) -> npt.NDArray[np.float32]:
    """(components, cells) logits whose single columns are within ``DOUBT`` of what was measured. alone: of each column."""
    blocks = np.split(logits.astype(np.float64), np.cumsum(sizes)[:-1], axis=1)
    return np.hstack([_moved(block, table) for block, table in zip(blocks, alone, strict=True)]).astype(np.float32)


def _moved(block: FloatArray, table: Table) -> FloatArray:
    shares = _shares(block)
    goal = nearest_within(shares, table.shares - DOUBT * table.sigma, table.shares + DOUBT * table.sigma)
    for _ in range(ROUNDS):
        if np.abs(shares - goal).max() < NEAR:
            break
        block = block + np.log(np.maximum(goal, LEAST) / np.maximum(shares, LEAST))
        shares = _shares(block)
    return block


def _shares(block: FloatArray) -> FloatArray:
    chances = np.exp(block - block.max(axis=1, keepdims=True))
    shares: FloatArray = (chances / chances.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares


def nearest_within(shares: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """The nearest shares of sum 1, each between its limits and at least 0; ``shares`` themselves where they are.

    Where the limits leave none, the nearest limits as parts of their sum.
    """
    lower, upper = np.clip(lower, 0.0, 1.0), np.clip(upper, 0.0, 1.0)
    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(shares + middle, lower, upper).sum() < 1 else (low, middle)
    within = np.clip(shares + high, lower, upper)
    nearest: FloatArray = within / max(within.sum(), LEAST)
    return nearest
