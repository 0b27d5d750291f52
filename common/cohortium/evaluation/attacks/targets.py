"""Whom attacks are tried on: persons who took part, and persons who did not, one row each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cohortium.evaluation.neighbours import Space
from cohortium.evaluation.samples import Sample, Sides

MOST = 10_000  # persons of each side


@dataclass(frozen=True)
class Targets:
    """members, others: in a random order. known: others whom the attacker knows, and who are not attacked."""

    members: Sample
    others: Sample
    known: Sample
    synthetic: Sample
    space: Space

    @cached_property
    def others_halved(self) -> tuple[Sample, Sample]:
        """Those who set thresholds, and those who are tested."""
        half = len(self.others) // 2
        return self.others.at(np.arange(half)), self.others.at(np.arange(half, len(self.others)))


def targets(sides: Sides) -> Targets:
    """The persons held out are attacked, but for a third, whom the attacker knows."""
    one_each = _one_each(sides.reference)
    third = len(one_each) // 3
    known, others = one_each.at(np.arange(third)), one_each.at(np.arange(third, len(one_each)))
    members = _one_each(sides.real)
    return Targets(members.first(MOST), others.first(MOST), known, sides.synthetic, Space(sides))


def _one_each(sample: Sample) -> Sample:
    first: npt.NDArray[np.int64] = np.sort(np.unique(sample.rows.persons, return_index=True)[1])
    return sample.at(first)
