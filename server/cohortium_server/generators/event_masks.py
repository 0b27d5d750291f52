"""What rules across a person's events leave: a mask on what the next event of each may be, so that they hold exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cohortium.data.event_rules import Ban
from cohortium_server.generators.cells import Cells

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
IMPOSSIBLE = -1e9


class Mask:
    """The rules of one column, for persons on their way, of whom the first ones go on. first: (persons,) the cell of each one's first event."""

    def __init__(self, ban: Ban, cells: Cells, size: int, first: IntArray) -> None:
        """cells: of the columns of a step. size: merged cells of the column."""
        self.ban = ban
        self._allowed = ~ban.forbids[first]
        self._shares, self._merged = cells.shares_of(ban.column), cells.merged_of(ban.column)
        self._into = (self._merged[:, None] == np.arange(size)).astype(np.float64)
        self._drawn: list[IntArray] = []

    def draw(self, logits: FloatArray, to_come: IntArray, rng: np.random.Generator) -> IntArray:
        """(n,) merged cells of the next event of the first n persons. logits: (n, merged cells). to_come: (n,) events after it."""
        n = len(logits)
        weights = self.ban.open(self._allowed[:n], to_come) * self._shares
        with np.errstate(divide="ignore"):
            chosen = drawn(np.maximum(logits + np.log(weights @ self._into), IMPOSSIBLE), rng)
        single = _among(weights * (self._merged == chosen[:, None]), rng)
        self._allowed[:n] &= ~self.ban.forbids[single]
        self._drawn.append(single)
        return chosen

    @property
    def drawn_so_far(self) -> IntArray:
        """(events,) the single cells of all but first events, event after event."""
        return np.concatenate([np.zeros(0, np.int64), *self._drawn])


def _among(weights: FloatArray, rng: np.random.Generator) -> IntArray:
    """(n,) for each row of (n, cells) weights one of its cells."""
    ladder = np.cumsum(weights, axis=1)
    points = rng.random(len(ladder)) * ladder[:, -1]
    chosen = (ladder <= points[:, None]).sum(axis=1, dtype=np.int64)
    return np.asarray(np.minimum(chosen, weights.shape[1] - 1), np.int64)


def drawn(logits: FloatArray, rng: np.random.Generator) -> IntArray:
    """(n,) for each row of (n, cells) logits one of its cells."""
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    ladder = np.cumsum(chances, axis=1)
    points = rng.random(len(ladder)) * ladder[:, -1]
    chosen = (ladder <= points[:, None]).sum(axis=1, dtype=np.int64)
    return np.asarray(np.minimum(chosen, logits.shape[1] - 1), np.int64)
