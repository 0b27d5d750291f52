"""Step 3: what the coordinator may ask. Every answer is an integer vector: a bounded, noised sum over persons.

Here live the queries (marginals, histograms, gradient sums, local training) and contribution bounding, which all of them use.
They may import ``data``, ``privacy`` and ``neural``. Nothing here masks, charges or sends an answer.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

from cohortium.data.encoding import Codes
from cohortium.privacy.accounting import Events
from cohortium.privacy.discrete_gaussian import Noised
from cohortium.privacy.randomness import Randomness


class Query(Protocol):
    """A frozen value. Every field but ``state`` follows from the signed study alone; none follows from data.

    A new query passes ``tests/contracts/test_queries.py`` by joining its list.
    """

    @property
    def kind(self) -> str: ...

    @property
    def width(self) -> int:
        """Length of the answer."""
        ...

    @property
    def state(self) -> bytes:
        """The coordinator's public model state that the answer depends on; empty if it depends on none."""
        ...

    def with_state(self, state: bytes) -> Self:
        """The same query at another model state; WireError where the state is not one of this query's."""
        ...

    def events(self, multiplier: float) -> Events:
        """What one answer costs at a noise multiplier; ValueError where the grid is too coarse for the noise."""
        ...

    def draws(self, multiplier: float) -> tuple[int, float]:
        """The noise behind one answer: how many numbers are drawn, and the largest of their scales, in grid units."""
        ...

    @property
    def shares_noise(self) -> bool:
        """Whether an answer is a bounded sum plus noise, so that sums of answers add up both: what masks are made for."""
        ...

    def reach(self, persons: int) -> int:
        """The largest absolute value, before noise, of a coordinate of a sum over so many persons, each counted once
        an institution; ValueError where ``shares_noise`` is False.
        """
        ...

    def answer(self, codes: Codes, multiplier: float, randomness: Randomness) -> Noised:
        """The institution's answer: (width,) int64. Never raises because of a value in ``codes``."""
        ...

    def describe(self) -> dict[str, Any]:
        """What is asked, for people, study show and the report."""
        ...
