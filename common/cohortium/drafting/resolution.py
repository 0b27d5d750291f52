"""How many decimals are significant: those within which values differ that many persons have, and no more.

Floating point fills a measured number with digits: 17.990281 where 17.99 was meant. What is finer than a small part of the
narrowest stretch in which a quarter of the persons lies distinguishes them from one another, and reveals nothing of their distribution; and
cells around zero as narrow as the last digit would lie where nobody is. Numbers that recur are kept to the last digit: it is meant.
"""

from __future__ import annotations

import math

import numpy as np

from cohortium.drafting.facts import FINEST, RARE, ColumnFacts
from cohortium.drafting.lattices import needs

MEANT = 2  # decimals that people write: money, percent
PARTS = 250  # of the narrowest stretch with a quarter of the persons
_QUARTER = 4
_RECURRING = 0.1  # of the persons, who have numbers that recur


def decimals_that_tell(facts: ColumnFacts, needed: int, special: tuple[float, ...]) -> int:
    """At most ``needed`` decimals: as many as numbers have that recur, and as the spread of the others asks for."""
    if needed <= MEANT:
        return needed
    plain = {x: n for x, n in facts.numbered.items() if x not in special}
    shared = {x: n for x, n in plain.items() if n >= RARE}
    single = {x: n for x, n in plain.items() if n < RARE}
    width = narrowest(single) if single else 0.0
    distinct = math.ceil(math.log10(PARTS / width) - 1e-9) if width > 0 else needed
    return max(MEANT, min(needed, max(distinct, _meant(shared, plain))))


def _meant(shared: dict[float, int], plain: dict[float, int]) -> int:
    """Decimals of nearly all numbers that recur; none where hardly any do, all that there may be where some need more."""
    least = _RECURRING * sum(plain.values())
    needed = {x: needs(x)[0] for x in shared}
    enough = (d for d in range(FINEST) if sum(n for x, n in shared.items() if needed[x] > d) < least)
    return next(enough, FINEST)


def narrowest(counts: dict[float, int]) -> float:
    """The width of the narrowest stretch in which a quarter of the persons lies. counts: how many have each number."""
    numbers = np.array(sorted(counts))
    persons = np.cumsum([counts[x] for x in numbers.tolist()])
    begin = np.concatenate([[0], persons[:-1]])
    end = np.searchsorted(persons, begin + persons[-1] / _QUARTER)
    inside = end < len(numbers)
    return float((numbers[end[inside]] - numbers[inside]).min()) if inside.any() else 0.0
