"""Masked answers, and the coordinator's running sum of them: one accumulator, whatever the number of institutions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cohortium.errors import MaskingError
from cohortium.masking.ring import IntArray, Ring, RingArray, add_masks
from cohortium.privacy.discrete_gaussian import Noised


@dataclass(frozen=True)
class Masked:
    """An answer that means nothing by itself. values: (width,) uint32 or uint64."""

    values: RingArray


@dataclass(frozen=True)
class UnmaskedSum:
    """The noised sum. values: (width,) int64.

    suspects: institutions of which a share was wrong, though the sum could be opened without it.
    """

    values: IntArray
    suspects: tuple[str, ...] = ()


def masked(noised: Noised, ring: Ring, masks: Iterable[tuple[bytes, int]]) -> Masked:
    """The noised answer plus all masks, in a new array."""
    values = ring.to_ring(noised.values)
    add_masks(values, masks)
    return Masked(values)


class MaskedSum:
    """What the coordinator adds masked answers to as they come in; who has been added are the survivors.

    A late, malformed or second answer is left out, and its institution counts as dropped out unless added before.
    """

    def __init__(self, ring: Ring, width: int) -> None:
        self.ring = ring
        self.values: RingArray = np.zeros(width, ring.dtype)
        self._added: set[str] = set()

    @classmethod
    def of(cls, ring: Ring, values: RingArray, survivors: Iterable[str]) -> MaskedSum:
        """One that was added up before, of these; ``values`` is left as it is."""
        total = cls(ring, len(values))
        total.values, total._added = values.copy(), set(survivors)
        return total

    @property
    def survivors(self) -> tuple[str, ...]:
        """Sorted names."""
        return tuple(sorted(self._added))

    def add(self, institution: str, answer: Masked) -> None:
        """MaskingError E_COHORT for a second answer, or one of another width or ring; the sum is then as before."""
        if institution in self._added:
            raise _unfit(institution, "its masked answer has been added already")
        if answer.values.dtype != self.ring.dtype or answer.values.shape != self.values.shape:
            raise _unfit(institution, "its masked answer does not have the query's width and ring")
        np.add(self.values, answer.values, out=self.values)
        self._added.add(institution)

    def opened(self, masks: Iterable[tuple[bytes, int]]) -> IntArray:
        """Take ``masks`` away, in place; (width,) int64. Pre-condition: only once, after the last answer."""
        add_masks(self.values, [(key, -sign) for key, sign in masks])
        return self.ring.from_ring(self.values)


def _unfit(institution: str, what: str) -> MaskingError:
    return MaskingError("E_COHORT", institution, what, "It is left out; if too many are, begin a new attempt.")
