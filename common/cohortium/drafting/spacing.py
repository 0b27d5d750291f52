"""How whole numbers lie: as counts of a quantity do, close together and alike, or apart and each by itself, as codes do.

Of a quantity, numbers that lie next to each other are about as common: its density changes little from one to the next. That one
number is common implies then that those around it are. For codes it implies nothing: 25072 may be many persons' and 25071 nobody's.
Round numbers of a quantity are more common than others, so each is held against others that are as round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
_AROUND = 10  # numbers on either side
_ROUND = (*(b * 10**k for k in range(12) for b in (1, 2, 5)), 7, 12, 15, 30, 60)  # money, weeks, dozens, hours
_WIDE = 10  # numbers on either side among which those of a sparse column are looked at


def apart(counts: Mapping[int, int]) -> float:
    """How many times as many others share a person's number as have one of the numbers around it: the median of all persons.

    Inf where others share it, and nobody has one around; 0 where nobody shares it. counts: how many have each number.
    """
    numbers, persons = _sorted(counts)
    if not len(numbers):
        return 1.0
    common, least = _common(numbers), np.full(len(numbers), math.inf)
    for step in sorted({*_ROUND, *(common * step for step in _ROUND)}):
        if step > numbers[-1] - numbers[0]:
            break
        at = np.arange(len(numbers)) if step == common else np.flatnonzero(numbers % step == 0)
        least[at] = np.minimum(least[at], _times(numbers, persons, at, step))
    order = np.argsort(least)
    half = np.searchsorted(np.cumsum(persons[order]), persons.sum() / 2)
    return float(least[order][half])


def _times(numbers: IntArray, persons: IntArray, at: IntArray, step: int) -> npt.NDArray[np.float64]:
    """(at,) how many others share each, over how many have a number that is one to ten steps away, on average."""
    offsets = np.array([k * step for k in range(-_AROUND, _AROUND + 1) if k])
    sites = numbers[at][:, None] + offsets
    places = np.minimum(np.searchsorted(numbers, sites), len(numbers) - 1)
    there = np.where(numbers[places] == sites, persons[places], 0).sum(axis=1)
    possible = ((sites >= 0) | (numbers[0] < 0)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (persons[at] - 1) * possible / there
    return np.where(persons[at] > 1, found, 0.0)


def alike(counts: Mapping[int, int]) -> float:
    """Whether a number is as common as the next one that occurs: the correlation of ranks, from -1 to 1; 0 where it cannot be told."""
    _, persons = _sorted(counts)
    if len(persons) < 4:
        return 0.0
    ranks = np.argsort(np.argsort(persons, kind="stable"), kind="stable").astype(float)
    distinct, at = np.unique(persons, return_inverse=True)
    ranks = np.bincount(at, ranks, len(distinct))[at] / np.bincount(at)[at]
    one, other = ranks[:-1], ranks[1:]
    wide = one.std() * other.std()
    return float(((one - one.mean()) * (other - other.mean())).mean() / wide) if wide > 0 else 0.0


def repeats(counts: Mapping[int, int], persons: int) -> tuple[int, float]:
    """How often a number occurs that was there already, and how often it would by chance, of ``persons`` with so dense numbers."""
    numbers, _ = _sorted(counts)
    seen = sum(counts.values()) - len(counts)
    if len(numbers) < 4 * _WIDE:
        return seen, 0.0
    units = (numbers - numbers[0]) // _common(numbers)
    dense = 2 * _WIDE / (units[2 * _WIDE :] - units[: -2 * _WIDE])
    return seen, float(dense.mean()) * persons / 2


def _sorted(counts: Mapping[int, int]) -> tuple[IntArray, IntArray]:
    numbers = np.array(sorted(counts), np.int64)
    return numbers, np.array([counts[x] for x in numbers.tolist()], np.int64)


def _common(numbers: IntArray) -> int:
    """The step that all of them lie on, seen from the first."""
    return reduce(math.gcd, np.diff(numbers).tolist(), 0) or 1
