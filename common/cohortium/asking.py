"""Which tables a generator asks for, and how precisely: a function of the public study alone.

All pairs of columns, and all of them within the cells of each target. Where the noise is small, all other tables of three
columns as well: what they say of order three then outweighs that every table becomes a little noisier.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

Columns = tuple[int, ...]
TARGET_WEIGHT = 0.5  # precision of a table of three columns, one of them a target, against a pair's
MAX_CROSSED_CELLS = 64  # targets with more cells are not crossed with every pair
MAX_TRIPLE_CELLS = 2_000_000  # of all other tables of three columns together; where they have more, none is asked


def pair_tables(sizes: Sequence[int], targets: Sequence[int]) -> dict[Columns, float]:
    """All pairs, and all triples of a target with a pair of other columns, with weights; the one column of a table of one."""
    pairs: list[Columns] = list(itertools.combinations(range(len(sizes)), 2)) or [(0,)]
    crossed = [t for t in targets if sizes[t] <= MAX_CROSSED_CELLS]
    triples = sorted({tuple(sorted((t, *pair))) for t in crossed for pair in pairs if t not in pair and len(pair) == 2})
    return dict.fromkeys(pairs, 1.0) | dict.fromkeys(triples, TARGET_WEIGHT)


def with_triples(tables: dict[Columns, float], sizes: Sequence[int], noise: float) -> dict[Columns, float]:
    """And all other triples, for ``triple_share`` of the whole weight."""
    share = triple_share(noise)
    others = [t for t in itertools.combinations(range(len(sizes)), 3) if t not in tables]
    if not (share and others) or sum(math.prod(sizes[j] for j in t) for t in others) > MAX_TRIPLE_CELLS:
        return tables
    weight = share / (1 - share) * math.fsum(tables.values()) / len(others)
    return tables | dict.fromkeys(others, weight)


def triple_share(noise: float) -> float:
    """The part of the weight that triples without a target get.

    noise: standard deviation, in rows, in a count that is asked alone: about 3.7 at epsilon 1 and delta 1e-5, 1.4 at
    3, 0.5 at 10. None from 2 on, a tenth more with each halving, a quarter at most.
    """
    return min(0.25, max(0.0, 0.1 * math.log2(2 / noise)))
