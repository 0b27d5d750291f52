"""How near columns are together: pairs, what one says of the other, and triples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cohortium.evaluation.estimates import GROUPS, shares
from cohortium.evaluation.measures import Measure, measure_of
from cohortium.evaluation.samples import Sample, Sides
from cohortium.evaluation.shapes import TVD, total_variation

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Columns = tuple[int, ...]
TOPIC = "pairs"
MOST_PAIRS = 600
MOST_TRIPLES = 100
_DENSE = 1 << 16  # cells; of a larger table those that occur are looked at


def pairs(sides: Sides, rng: np.random.Generator) -> Iterator[Measure]:
    """Of the whole table, and the TVD of every pair; of more than ``MOST_PAIRS`` pairs some, chosen at random."""
    tables = some_tables(len(sides.sizes), 2, MOST_PAIRS, rng)
    if not tables:
        return
    found = {table: _of_pair(sides, table) for table in tables}
    for name, most in ((TVD, 1.0), ("difference of mutual information", np.inf), ("difference of correlation", 2.0)):
        of = [one[name] for one in found.values() if name in one]
        if of:
            yield measure_of(TOPIC, f"mean {name} over pairs", "", "less", _mean(of), (0.0, most))
    names = sides.schema.names
    for table, one in found.items():
        yield measure_of(TOPIC, TVD, " and ".join(names[j] for j in table), "less", one[TVD], (0.0, 1.0))


def triples(sides: Sides, rng: np.random.Generator) -> Iterator[Measure]:
    """The mean TVD of at most ``MOST_TRIPLES`` triples, chosen at random."""
    tables = some_tables(len(sides.sizes), 3, MOST_TRIPLES, rng)
    if tables:
        of = [_distances(sides, table) for table in tables]
        yield measure_of(TOPIC, f"mean {TVD} over triples", "", "less", _mean(of), (0.0, 1.0))


def some_tables(columns: int, order: int, most: int, rng: np.random.Generator) -> list[Columns]:
    if math.comb(columns, order) <= most:
        return list(itertools.combinations(range(columns), order))
    chosen: set[Columns] = set()
    while len(chosen) < most:
        chosen.add(tuple(sorted(rng.choice(columns, order, replace=False).tolist())))
    return sorted(chosen)


def _mean(of: Sequence[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
    return {side: np.mean([one[side] for one in of], axis=0) for side in of[0]}


def _of_pair(sides: Sides, table: Columns) -> dict[str, dict[str, FloatArray]]:
    """By name of the difference and by side (GROUPS + 1,)."""
    names = {TVD: _distances(sides, table)}
    shape = tuple(sides.sizes[j] for j in table)
    if math.prod(shape) > _DENSE:
        return names
    dense = {k: _table(s, table, shape) for k, s in (("reference", sides.reference), *sides.compared.items())}
    names["difference of mutual information"] = _apart({k: mutual_information(t) for k, t in dense.items()})
    first, second = (sides.ordered[j] for j in table)
    if first and second:
        there = {k: rank_correlation(t[:, :first, :second]) for k, t in dense.items()}
        names["difference of correlation"] = _apart(there)
    return names


def _apart(of: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    return {k: np.abs(v - of["reference"]) for k, v in of.items() if k != "reference"}


def _table(sample: Sample, table: Columns, shape: tuple[int, ...]) -> FloatArray:
    """(GROUPS + 1, ...) shares of a table's cells."""
    cells = np.ravel_multi_index(tuple(sample.cells[:, j] for j in table), shape)
    return shares(cells, sample.groups, math.prod(shape)).reshape(GROUPS + 1, *shape)


def _distances(sides: Sides, table: Columns) -> dict[str, FloatArray]:
    """By side (GROUPS + 1,) TVD from the reference, over the cells that occur."""
    shape = tuple(sides.sizes[j] for j in table)
    samples = {"reference": sides.reference, **sides.compared}
    cells = {k: np.ravel_multi_index(tuple(s.cells[:, j] for j in table), shape) for k, s in samples.items()}
    size = math.prod(shape)
    if size > _DENSE:
        there = np.unique(np.concatenate(list(cells.values())))
        cells, size = {k: np.searchsorted(there, c) for k, c in cells.items()}, len(there)
    of = {k: shares(c, samples[k].groups, size) for k, c in cells.items()}
    return {k: total_variation(of["reference"], v) for k, v in of.items() if k != "reference"}


def mutual_information(table: FloatArray) -> FloatArray:
    """(n,) bits, of (n, a, b) shares."""
    product = table.sum(axis=2, keepdims=True) * table.sum(axis=1, keepdims=True)
    there = table > 0
    terms = np.zeros(table.shape)
    terms[there] = table[there] * np.log2(table[there] / product[there])
    found: FloatArray = terms.sum(axis=(1, 2))
    return found


def rank_correlation(table: FloatArray) -> FloatArray:
    """(n,) Spearman's, over cells in their order, of (n, a, b) shares, which need not sum to 1; 0 where a column has one value."""
    table = table / np.maximum(1e-12, table.sum(axis=(1, 2), keepdims=True))
    rows, columns = table.sum(axis=2), table.sum(axis=1)
    x, y = (s.cumsum(axis=1) - s / 2 for s in (rows, columns))
    x, y = x - 0.5, y - 0.5  # the mean of mid-ranks is one half
    product = np.einsum("nab,na,nb->n", table, x, y)
    scale = np.sqrt((rows * x**2).sum(axis=1) * (columns * y**2).sum(axis=1))
    found: FloatArray = np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
    return found
