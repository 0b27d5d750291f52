"""How far synthetic tables are from real ones: total variation distance over tables of columns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

CodeArray = npt.NDArray[np.integer[Any]]
Columns = tuple[int, ...]
MOST_TABLES = 500  # of one order that are looked at where an rng may choose them
_DENSE = 1 << 22  # a table of more cells is held as the cells that occur
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Fidelity:
    """Mean total variation distances, 0 (equal) to 1 (disjoint); None where the table has too few columns."""

    one: float
    two: float | None
    three: float | None


def fidelity(
    real: CodeArray, synthetic: CodeArray, sizes: Sequence[int], rng: np.random.Generator | None = None
) -> Fidelity:
    """All three orders at once; see ``tvd``."""
    two, three = (tvd(real, synthetic, sizes, k, rng) if len(sizes) >= k else None for k in (2, 3))
    return Fidelity(tvd(real, synthetic, sizes, 1, rng), two, three)


def tvd(
    real: CodeArray,
    synthetic: CodeArray,
    sizes: Sequence[int],
    order: int,
    rng: np.random.Generator | None = None,
) -> float:
    """Mean over all tables of ``order`` columns of half the sum of the absolute differences of their shares.

    real, synthetic: (rows, columns) codes, each in 0 .. sizes[column] - 1.
    rng: lets at most ``MOST_TABLES`` tables, chosen at random, stand for all; without one all are counted.
    Memory does not grow with the number of tables.
    """
    for codes in (real, synthetic):
        _check(codes, sizes)
    if not 1 <= order <= len(sizes):
        raise ValueError("order must lie between one and the number of columns")
    tables = _tables(len(sizes), order, rng)
    return math.fsum(_distance(real, synthetic, sizes, table) for table in tables) / len(tables)


def _check(codes: CodeArray, sizes: Sequence[int]) -> None:
    if codes.ndim != 2 or codes.shape[1] != len(sizes) or len(codes) == 0:
        raise ValueError("codes must be (rows, columns) with at least one row")
    if (codes.min(axis=0) < 0).any() or (codes.max(axis=0) >= np.array(sizes)).any():
        raise ValueError("a code lies outside its column's cells")


def _tables(columns: int, order: int, rng: np.random.Generator | None) -> list[Columns]:
    if rng is None or math.comb(columns, order) <= MOST_TABLES:
        return list(itertools.combinations(range(columns), order))
    chosen: set[Columns] = set()
    while len(chosen) < MOST_TABLES:
        chosen.add(tuple(sorted(rng.choice(columns, order, replace=False).tolist())))
    return sorted(chosen)


def _distance(real: CodeArray, synthetic: CodeArray, sizes: Sequence[int], table: Columns) -> float:
    counts = _counts if math.prod(sizes[j] for j in table) <= _DENSE else _sparse_counts
    ours, theirs = counts(real, synthetic, sizes, table)
    return float(np.abs(ours / len(real) - theirs / len(synthetic)).sum()) / 2


def _counts(
    real: CodeArray, synthetic: CodeArray, sizes: Sequence[int], table: Columns
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Both tables' counts over all cells."""
    totals = np.zeros((2, math.prod(sizes[j] for j in table)), np.int64)
    for total, codes in zip(totals, (real, synthetic), strict=True):
        for start in range(0, len(codes), _BLOCK):
            total += np.bincount(_cells(codes[start : start + _BLOCK], sizes, table), minlength=len(total))
    return totals[0], totals[1]


def _sparse_counts(
    real: CodeArray, synthetic: CodeArray, sizes: Sequence[int], table: Columns
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Both tables' counts over the cells that occur in either."""
    cells = np.concatenate([_cells(codes, sizes, table) for codes in (real, synthetic)])
    _, place = np.unique(cells, return_inverse=True)
    most = int(place.max()) + 1
    return np.bincount(place[: len(real)], minlength=most), np.bincount(place[len(real) :], minlength=most)


def _cells(codes: CodeArray, sizes: Sequence[int], table: Columns) -> npt.NDArray[np.int64]:
    """(rows,) position of each row's cell in the table, the last column running fastest."""
    cells = codes[:, table[0]].astype(np.int64)
    for j in table[1:]:
        cells = cells * sizes[j] + codes[:, j]
    return cells
