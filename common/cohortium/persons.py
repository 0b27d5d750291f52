"""At most m rows of any person, chosen by secret coins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cohortium.coins import Coins
from cohortium.encoding import Codes


def at_most(codes: Codes, rows_per_person: int, coins: Coins) -> Codes:
    """``codes`` with a uniformly random choice of ``rows_per_person`` rows of every person who has more.

    One person's choice depends on the coins of that person's own rows only, so adding or removing another person
    changes nothing about it.
    """
    if (codes.persons[1:] > codes.persons[:-1]).all():  # every row its own person: nothing to choose, nothing to copy
        return codes
    order = np.lexsort((coins.words(len(codes)), codes.persons))
    rank = _rank_within(codes.persons[order])
    kept = np.sort(order[rank < rows_per_person])
    return replace(codes, values=codes.values[kept], persons=codes.persons[kept])


def _rank_within(
    sorted_persons: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """0, 1, 2, ... within every run of equal persons."""
    starts = np.flatnonzero(np.diff(sorted_persons, prepend=sorted_persons[:1] - 1))
    return np.arange(len(sorted_persons)) - np.repeat(starts, np.diff(starts, append=len(sorted_persons)))
