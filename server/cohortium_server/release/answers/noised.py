"""Estimates of sums from the noised tables alone: unbiased, with a known variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cohortium_server.generators import Measured
from cohortium_server.generators.tables import noised_rows
from cohortium_server.release.answers.bounds import ColumnCounts, MergedCounts
from cohortium_server.release.answers.products import FloatArray, Products

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Margin:
    """The counts of a table of some columns, put together from all tables that hold them.

    cells: per column the cell that every cell of the schema is counted in, None for its own. variance: of each count.
    """

    cells: tuple[IntArray | None, ...]
    counts: FloatArray
    variance: float

    def sums(self, products: Products) -> tuple[FloatArray, FloatArray]:
        """(n,) sums and their variances, infinite where a weight differs within a cell that was counted as one."""
        variance, known = np.full(len(products), self.variance), np.ones(len(products), bool)
        subscripts = "abc"[: self.counts.ndim]
        folded = []
        for weights, cells in zip(products.weights, self.cells, strict=True):
            less, same = _folded(weights, cells)
            variance, known = variance * (less**2).sum(1), known & same
            folded.append(less)
        terms = ",".join(f"n{s}" for s in subscripts)
        value = np.einsum(f"{subscripts},{terms}->n", self.counts, *folded, optimize=True)
        return value, np.where(known, variance, np.inf)


def _folded(weights: FloatArray, cells: IntArray | None) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """(n, merged cells) weights, and whether each product's are the same all over each merged cell."""
    if cells is None:
        return weights, np.ones(len(weights), bool)
    _, first = np.unique(cells, return_index=True)
    less = weights[:, first]
    return less, (less[:, cells] == weights).all(1)


@dataclass(frozen=True)
class Noised:
    """All noised tables of a release; ``sizes``: cells of each column of the schema."""

    sizes: tuple[int, ...]
    tables: Sequence[Measured]

    @cached_property
    def rows(self) -> int:
        return noised_rows(self.tables)

    @cached_property
    def rows_variance(self) -> float:
        return 1 / sum(1 / (t.counts.size * t.sigma**2) for t in self.tables)

    @cached_property
    def held(self) -> dict[tuple[int, ...], list[Measured]]:
        """The tables that hold a column, a pair or a triple."""
        found: dict[tuple[int, ...], list[Measured]] = {}
        for table in self.tables:
            for columns in _subsets(table.columns):
                found.setdefault(columns, []).append(table)
        return found

    @cached_property
    def _margins(self) -> dict[tuple[int, ...], list[_Margin]]:
        return {}

    def merged(self, j: int) -> IntArray:
        """(cells,) of a column: the cell that each is counted in together with other columns."""
        tables = [m for m in self.held.get((j,), []) if len(m.columns) > 1 or len(self.sizes) == 1]
        cells = tables[-1].cells[tables[-1].columns.index(j)] if tables else None
        return np.arange(self.sizes[j]) if cells is None else cells

    def sums(self, products: Products) -> tuple[FloatArray, FloatArray]:
        """(n,) the best sums of noised counts, and their variances; infinite where no noised table measures them."""
        margins = self._of(products.columns)
        if len(products.columns) == 1 and len(margins) > 1:
            fine, *coarser = sorted(margins, key=lambda m: -m.counts.size)
            return _all_levels(fine, coarser, products.weights[0])
        if not margins:
            return np.zeros(len(products)), np.full(len(products), np.inf)
        return min(margins, key=lambda m: m.variance).sums(products)

    def counts(self, j: int) -> ColumnCounts | None:
        """A column's counts: each cell, merged ones, and all rows by the tables without it; None where only merged cells are measured."""
        margins = sorted(self._of((j,)), key=lambda m: -m.counts.size)
        if not margins or margins[0].counts.size != self.sizes[j]:
            return None
        levels = [MergedCounts(m.cells[0], m.counts, m.variance) for m in margins[1:] if m.cells[0] is not None]
        if others := [t for t in self.tables if j not in t.columns]:
            precision = sum(1 / (t.counts.size * t.sigma**2) for t in others)
            rows = sum(float(t.counts.sum()) / (t.counts.size * t.sigma**2) for t in others) / precision
            levels.append(MergedCounts(np.zeros(self.sizes[j], np.int64), np.array([rows]), 1 / precision))
        return ColumnCounts(margins[0].counts, margins[0].variance, tuple(levels))

    def _of(self, columns: tuple[int, ...]) -> list[_Margin]:
        """One margin for tables over the same cells."""
        if columns not in self._margins:
            together: dict[tuple[bytes, ...], list[Measured]] = {}
            for table in self.held.get(columns, []):
                key = tuple(b"" if c is None else c.tobytes() for c in _cells(table, columns))
                together.setdefault(key, []).append(table)
            self._margins[columns] = [_margin(tables, columns) for tables in together.values()]
        return self._margins[columns]


def _all_levels(fine: _Margin, coarser: Sequence[_Margin], weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n,) the best sums, and their variances, from counts of a column's cells and of the same cells put together in any ways.

    Least squares. With v the variance of a cell's count, U the sums that the others are, and u their variances, what these
    differ from the sums of cells moves the cells by v Uᵀ (diag(u) + v U Uᵀ)⁻¹ (Woodbury's identity).
    """
    assert fine.cells[0] is None  # noqa: S101 - the first round counts every cell by itself
    v, cells = fine.variance, [_put_together(margin) for margin in coarser]
    together = np.concatenate([np.arange(len(m.counts))[:, None] == c for m, c in zip(coarser, cells, strict=True)])
    together = together.astype(np.float64)
    counts = np.concatenate([margin.counts for margin in coarser])
    own = np.concatenate([np.full(len(margin.counts), margin.variance) for margin in coarser])
    weighed = weights @ together.T
    moved = v * np.linalg.solve(np.diag(own) + v * together @ together.T, weighed.T).T
    value = weights @ fine.counts + moved @ (counts - together @ fine.counts)
    variance = v * (weights**2).sum(1) - v * (moved * weighed).sum(1)
    return value, np.maximum(variance, 0)


def _put_together(margin: _Margin) -> IntArray:
    (cells,) = margin.cells
    assert cells is not None  # noqa: S101 - it would be the finest
    return cells


def _margin(tables: Sequence[Measured], columns: tuple[int, ...]) -> _Margin:
    """Margins have independent noises of known variance: they are averaged by precision."""
    total, precision = np.zeros(()), 0.0
    for table in tables:
        others = tuple(axis for axis, j in enumerate(table.columns) if j not in columns)
        counts = table.counts.sum(axis=others)
        weight = counts.size / (table.counts.size * table.sigma**2)
        total, precision = total + weight * counts, precision + weight
    return _Margin(_cells(tables[0], columns), total / precision, 1 / precision)


def _cells(table: Measured, columns: tuple[int, ...]) -> tuple[IntArray | None, ...]:
    return tuple(table.cells[table.columns.index(j)] for j in columns)


def _subsets(columns: tuple[int, ...]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [()]
    for j in columns:
        found += [(*s, j) for s in found]
    return found[1:]
