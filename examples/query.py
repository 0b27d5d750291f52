"""A query: how many persons have each value of a column in any of their rows.

In the product this file would lie in ``common/cohortium/queries/``; docs/extending.md has the other places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from cohortium.data.encoding import Codes
from cohortium.errors import WireError
from cohortium.privacy.accounting import Events, Gaussian
from cohortium.privacy.discrete_gaussian import Bounded, Noised, Scales, add_noise, noise_multiplier
from cohortium.privacy.randomness import Randomness
from cohortium.queries.contribution_bounding import at_most


@dataclass(frozen=True)
class PersonsWith:
    """sizes: cells of every column. A person counts ``grid`` in each cell of ``column`` that is in one of at most m rows.

    Formal guarantee. Adding or removing a person changes at most min(m, cells) cells, each by ``grid``: in L2 by at most
    grid * sqrt(min(m, cells)).
    """

    sizes: tuple[int, ...]
    column: int
    rows_per_person: int = 1
    grid: int = 64
    kind, state, shares_noise = "persons with", b"", True

    @property
    def width(self) -> int:
        return self.sizes[self.column]

    @property
    def scales(self) -> Scales:
        return Scales(((self.width, 1.0),))

    @property
    def sensitivity(self) -> float:
        return self.grid * math.sqrt(min(self.rows_per_person, self.width)) * (1 + 1e-12)

    def with_state(self, state: bytes) -> Self:
        if state:
            raise WireError("E_STATE_SHAPE", self.kind, "it depends on no model state", "Send none.")
        return self

    def events(self, multiplier: float) -> Events:
        return (Gaussian(noise_multiplier(multiplier, self.sensitivity, self.scales)),)

    def draws(self, multiplier: float) -> tuple[int, float]:
        return self.width, multiplier * self.sensitivity

    def reach(self, persons: int) -> int:
        return persons * self.grid

    def contribute(self, codes: Codes, randomness: Randomness) -> Bounded:
        rows = at_most(codes, self.rows_per_person, randomness)
        had = np.unique(np.stack([rows.persons, rows.values[:, self.column]]), axis=1)[1]
        return Bounded(self.grid * np.bincount(had, minlength=self.width), self.sensitivity, self.scales)

    def answer(self, codes: Codes, multiplier: float, randomness: Randomness) -> Noised:
        return add_noise(self.contribute(codes, randomness), multiplier, randomness)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "column": self.column, "cells": self.width}
