"""A fit against what could be released instead: the noised single columns, taken as independent.

Both are made from one version of the noised tables and held against another with independent noise (``data_thinning``), so that
neither gains by following noise, and the choice costs no privacy. Independent columns are released only where they are nearer to
all tables together and to those of the targets as well: a fit that tells anything of a target is worth more than its distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cohortium_server.generators.loss import Loss
from cohortium_server.generators.shares import Table

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Squared distances from noised tables over the noise's variance: from all of them, and from those of a target and other columns."""

    everywhere: float
    target: float


@dataclass(frozen=True)
class Contest:
    """everywhere, target: the fit's error less that of independent columns, in all tables and in those of the targets.

    Below 0 the fit is nearer. Noise in the tables is the same for both and cancels out. held_out: whether in tables that
    neither has seen. Where noise is so little that no length of the fit is chosen, it is in the tables themselves: they tell
    the two apart by thousands of its variances.
    """

    everywhere: float
    target: float
    held_out: bool

    @property
    def independent_wins(self) -> bool:
        """Whether independent columns are nearer to all tables, and no farther from those of the targets."""
        return self.everywhere > 0 and self.target >= 0


class Yardstick:
    """The tables that models are held against, and the best one that was."""

    def __init__(
        self,
        sizes: Sequence[int],
        tables: Sequence[Table],
        targets: Sequence[int],
        device: str,
        rng: np.random.Generator,
    ) -> None:
        aimed = [len(t.columns) > 1 and not set(targets).isdisjoint(t.columns) for t in tables]
        parts = ([t for t, one in zip(tables, aimed, strict=True) if one == which] for which in (False, True))
        self._losses = [Loss(sizes, part, device, rng) for part in parts]
        self._device = device
        self.best: Errors | None = None

    def look(self, logits: torch.Tensor) -> float:
        """The error of (..., components, cells) logits in all tables; the least there was is kept."""
        found = self._errors(logits.detach())
        if self.best is None or found.everywhere < self.best.everywhere:
            self.best = found
        return found.everywhere

    def against(self, independent: npt.NDArray[np.float32], held_out: bool) -> Contest:
        """The best that was looked at, and (1, cells) logits of independent columns."""
        assert self.best is not None  # noqa: S101 - a fit is looked at
        theirs = self._errors(torch.tensor(independent, device=self._device))
        apart = self.best.everywhere - theirs.everywhere, self.best.target - theirs.target
        return Contest(*apart, held_out)

    def _errors(self, logits: torch.Tensor) -> Errors:
        rest, aimed = (loss.same(logits).item() for loss in self._losses)
        return Errors(rest + aimed, aimed)
