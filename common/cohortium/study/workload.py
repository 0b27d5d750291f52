"""The workload: which tables a generator asks for, and how precisely; a function of the public study alone.

All pairs of columns, and all pairs crossed with each target. Where the noise is small, all other tables of three columns
as well: what they add about third-order interactions then outweighs the slightly larger noise of every table.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from cohortium.queries.marginals import Marginals

Columns = tuple[int, ...]
TARGET_WEIGHT = 0.5  # precision of a table of three columns, one of them a target, against a pair's
MAX_CROSSED_CELLS = 64  # targets with more cells are not crossed with every pair
MANY_COLUMNS = 50  # from here on pairs would drown single columns and targets in noise if all tables weighed the same
WIDE_SHARES = (0.3, 0.3, 0.3, 0.1)  # then: of single columns, pairs with a target, other pairs, triples with a target
MIXES = (
    (0.1, 0.3, 0.4, 0.2),
    (0.1, 0.5, 0.3, 0.1),
    (0.2, 0.5, 0.3, 0.0),
)  # of the same kinds, for fewer and fewer rows
LITTLE = 0.1  # total variation by noise alone below which the first weights are best
MAX_TRIPLES = 2_000  # other tables of three columns; if there are more, none is asked
MAX_TRIPLE_CELLS = 2_000_000  # that they may have together, likewise


def pair_tables(sizes: Sequence[int], targets: Sequence[int]) -> dict[Columns, float]:
    """All pairs, and all triples of a target with a pair of other columns, with weights; the one column of a table of one."""
    pairs: list[Columns] = list(itertools.combinations(range(len(sizes)), 2)) or [(0,)]
    crossed = [t for t in targets if sizes[t] <= MAX_CROSSED_CELLS]
    triples = sorted({tuple(sorted((t, *pair))) for t in crossed for pair in pairs if t not in pair and len(pair) == 2})
    return dict.fromkeys(pairs, 1.0) | dict.fromkeys(triples, TARGET_WEIGHT)


def wide_tables(tables: dict[Columns, float], targets: Sequence[int]) -> dict[Columns, float]:
    """The same tables; for many columns also single columns, with ``WIDE_SHARES`` of the weight for each kind.

    Tuned on two tables of 58 and 75 columns, with 1,616 and 2,344 rows, at epsilon 1 and 3.
    """
    alone: list[Columns] = [(j,) for j in sorted({j for t in tables for j in t})]
    pairs, crossed = _of_order(tables, 2), _of_order(tables, 3)
    if len(alone) < MANY_COLUMNS or not crossed:
        return tables
    aimed = [t for t in pairs if set(t) & set(targets)]
    kinds = alone, aimed, sorted(set(pairs) - set(aimed)), crossed
    return {t: share / len(kind) for kind, share in zip(kinds, WIDE_SHARES, strict=True) for t in kind}


def with_single(tables: dict[Columns, float]) -> dict[Columns, float]:
    """The same tables and every single column, of weight 0: what a mix may ask for."""
    return dict.fromkeys([(j,) for j in sorted({j for t in tables for j in t})], 0.0) | tables


def mixes(tables: dict[Columns, float], targets: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """The weights that the coordinator may choose from, each of sum 1: those of ``tables``, then those of ``MIXES``.

    A share of a kind that there is not is the others'. Empty where that leaves nothing to choose.
    """
    kinds = _kinds(tables, targets)
    mixed = [[(share, kind) for share, kind in zip(mix, kinds, strict=True) if kind and share] for mix in MIXES]
    found = [tables, *(_mixed(tables, parts) for parts in mixed if parts)]
    different = tuple(dict.fromkeys(_of_sum_1(weights) for weights in found))
    return different if len(different) > 1 and any(kinds[1:3]) else ()


def _of_sum_1(weights: dict[Columns, float]) -> tuple[float, ...]:
    total = math.fsum(weights.values())
    return tuple(weight / total for weight in weights.values())


def chosen_mix(query: Marginals, noise: float, rows: float) -> int:
    """The number of the mix for so many rows; 0 where there is nothing to choose.

    What decides is how far noise alone would move a typical pair, in total variation, if it were asked with the first
    weights. From a tenth on the other mixes follow, each for three times as much noise: with few rows the tables
    of the target come first, and then single columns.
    noise: standard deviation of a count in a table that has the whole weight, of all institutions together, in rows.
    """
    if not query.choices:
        return 0
    tables = zip(query.tables, query.lengths, query.choices[0], strict=True)
    moved = [cells * noise / math.sqrt(weight) for table, cells, weight in tables if len(table) == 2 and weight > 0]
    typical = math.sqrt(2 / math.pi) / 2 * sorted(moved)[len(moved) // 2] / max(1.0, rows)
    steps = math.floor(math.log(max(typical, 1e-9) / LITTLE, 3)) + 1
    return min(max(0, steps), len(query.choices) - 1)


def _mixed(tables: dict[Columns, float], parts: Sequence[tuple[float, Sequence[Columns]]]) -> dict[Columns, float]:
    return dict.fromkeys(tables, 0.0) | {t: share / len(kind) for share, kind in parts for t in kind}


def _kinds(tables: dict[Columns, float], targets: Sequence[int]) -> tuple[list[Columns], ...]:
    """Single columns, pairs with a target, other pairs, and triples with a target."""
    pairs, aims = _of_order(tables, 2), set(targets)
    aimed = [t for t in pairs if set(t) & aims]
    crossed = [t for t in _of_order(tables, 3) if set(t) & aims]
    return _of_order(tables, 1), aimed, [t for t in pairs if not set(t) & aims], crossed


def _of_order(tables: dict[Columns, float], order: int) -> list[Columns]:
    return [t for t in tables if len(t) == order]


def with_triples(tables: dict[Columns, float], sizes: Sequence[int], noise: float) -> dict[Columns, float]:
    """The same tables and all other triples, with ``triple_share`` of the whole weight."""
    share = triple_share(noise)
    if not share or math.comb(len(sizes), 3) > MAX_TRIPLES + len(tables):
        return tables
    others = [t for t in itertools.combinations(range(len(sizes)), 3) if t not in tables]
    if not 0 < len(others) <= MAX_TRIPLES or sum(math.prod(sizes[j] for j in t) for t in others) > MAX_TRIPLE_CELLS:
        return tables
    weight = share / (1 - share) * math.fsum(tables.values()) / len(others)
    return tables | dict.fromkeys(others, weight)


def triple_share(noise: float) -> float:
    """The share of the weight for triples without a target.

    noise: standard deviation, in rows, of a count that is asked alone: about 3.7 at epsilon 1 and delta 1e-5, 1.4 at
    epsilon 3, 0.5 at 10. The share is 0 from noise 2 on, and grows by 0.1 with each halving, to 0.25 at most.
    """
    return min(0.25, max(0.0, 0.1 * math.log2(2 / noise)))
