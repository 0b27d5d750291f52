"""Numbers and days that stand for something else: ``-999`` for not measured, ``9999-12-31`` for still here.

The candidates are a public list, so that nothing is read off rows to distinguish them from a person's own
value; whether one of them means something else in a table is a guess from where the others lie, and marked for review.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

import numpy as np
import numpy.typing as npt

_REPEATED = tuple(int(digit * count) for digit in "789" for count in range(2, 11))
_NEAR = tuple(int("9" * count + digit) for digit in "678" for count in range(1, 6))
_WITH_POINT = (99.9, 999.9, 9999.9, 99.99, 999.99, 9999.99, 99999.99)
_ABOVE = (*_REPEATED, *_NEAR, *_WITH_POINT)
NUMBERS = np.sort(np.array([*_ABOVE, *(-x for x in _ABOVE), -1, -7, -8, -9], np.float64))
DAYS = tuple(
    datetime(*day)
    for day in (
        *((1, 1, 1), (1000, 1, 1), (1111, 1, 1), (1111, 11, 11), (1677, 9, 21), (1753, 1, 1), (1800, 1, 1)),
        *((1899, 12, 30), (1899, 12, 31), (1900, 1, 1), (1900, 12, 31), (1901, 1, 1), (1970, 1, 1)),
        *((2079, 6, 6), (2099, 1, 1), (2099, 12, 31), (2199, 12, 31), (2222, 2, 2), (2262, 4, 11), (2299, 12, 31)),
        *((2500, 1, 1), (2999, 1, 1), (2999, 12, 31), (3000, 1, 1), (3000, 12, 31), (4712, 12, 31), (5000, 1, 1)),
        *((8888, 8, 8), (9000, 1, 1), (9999, 1, 1), (9999, 9, 9), (9999, 12, 30), (9999, 12, 31)),
    )
)
_WORD = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?:[T ].*)?", re.DOTALL)


def may_stand(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(numbers,) whether each is one that often stands for something else."""
    found: npt.NDArray[np.bool_] = np.isin(numbers, NUMBERS)
    return found


def stand_apart(numbers: Mapping[float, int], low: float, high: float, least: int) -> tuple[float, ...]:
    """Of candidate numbers, with how many persons have each: those that at least ``least`` have and that lie far from the others.

    Far is half of the range or more; of negative ones beside others that are never negative, three times as much must be
    above zero.
    """
    wide = high - low

    def apart(x: float) -> bool:
        if x < 0 <= low:
            return high >= -3 * x or x <= -10
        return max(low - x, x - high) >= max(wide / 2, 1e-300)

    return tuple(sorted(x for x, count in numbers.items() if count >= least and apart(x)))


def placeholder_day(word: str) -> datetime | None:
    """The day of the list that a text (year first, with or without dashes) is; None for another."""
    found = _WORD.fullmatch(word)
    return _BY_PARTS.get((int(found[1]), int(found[2]), int(found[3]))) if found else None


def placeholder_of(moment: datetime) -> datetime | None:
    """The day of the list that a moment lies on; None for another."""
    return _BY_PARTS.get((moment.year, moment.month, moment.day))


_BY_PARTS = {(day.year, day.month, day.day): day for day in DAYS}
