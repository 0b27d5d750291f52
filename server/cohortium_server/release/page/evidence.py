"""Shares in tables of some columns: those of the synthetic rows, and those measured with noise."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cohortium_server.generators import Measured

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Columns = tuple[int, ...]
NORMAL_95 = 1.96  # standard deviations either side that hold 95 % of a normal distribution
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Estimate:
    """Shares of the real rows, each with independent noise of standard deviation ``sd``."""

    shares: FloatArray
    sd: float

    @property
    def within(self) -> float:
        """How far either way the noise of a share may reach."""
        return NORMAL_95 * self.sd


@dataclass(frozen=True)
class Evidence:
    """The released rows, (rows, columns) codes of ``sizes``, and noised tables of ``rows_measured`` real rows.

    Where tables of several columns were measured over merged cells of a column, everything refers to the merged cells.
    """

    sizes: tuple[int, ...]
    synthetic: npt.NDArray[np.int16]
    measured: Sequence[Measured]
    rows_measured: int

    @cached_property
    def _holders(self) -> Mapping[Columns, Sequence[Measured]]:
        """The noised tables that hold a column, or a pair."""
        found: defaultdict[Columns, list[Measured]] = defaultdict(list)
        for table in self.measured:
            for order in (1, 2):
                for axes in itertools.combinations(range(len(table.columns)), order):
                    if all(self._as_in_pairs(table, axis) for axis in axes):
                        found[tuple(table.columns[axis] for axis in axes)].append(table)
        return dict(found)

    @cached_property
    def _merged(self) -> Mapping[int, IntArray]:
        """Of columns with merged cells, the merged cell of every cell: those of the last tables, which are of pairs."""
        last = {j: merged for table in self.measured for j, merged in zip(table.columns, table.cells, strict=False)}
        return {j: merged for j, merged in last.items() if merged is not None}

    def _as_in_pairs(self, table: Measured, axis: int) -> bool:
        """Whether a table counts a column in the cells that it has in pairs."""
        one, other = table.cells[axis], self._merged.get(table.columns[axis])
        return one is other or (one is not None and other is not None and np.array_equal(one, other))

    def groups(self, j: int) -> list[list[int]]:
        """The cells of the schema that each measured cell of a column holds."""
        merged = self._merged.get(j, np.arange(self.sizes[j]))
        return [np.flatnonzero(merged == k).tolist() for k in range(int(merged.max()) + 1)]

    @cached_property
    def _measured_cells(self) -> tuple[int, ...]:
        """The measured cells of each column."""
        return tuple(int(self._merged[j].max()) + 1 if j in self._merged else k for j, k in enumerate(self.sizes))

    def holds(self, columns: Columns) -> bool:
        """Whether anything was measured of this column, or pair."""
        return columns in self._holders

    def estimate(self, columns: Columns) -> Estimate:
        """The average, weighted by precision, of all noised tables' estimates of the table of ``columns``."""
        weighted, precision = np.zeros([self._measured_cells[j] for j in columns]), 0.0
        for table in self._holders[columns]:
            others = tuple(axis for axis, j in enumerate(table.columns) if j not in columns)
            counts = table.counts.sum(axis=others)
            weight = counts.size / (table.counts.size * table.sigma**2)
            weighted, precision = weighted + weight * counts, precision + weight
        return Estimate(weighted / precision / self.rows_measured, 1 / math.sqrt(precision) / self.rows_measured)

    def shares(self, columns: Columns) -> FloatArray:
        """The synthetic rows' share of every measured cell, in the shape of the table of ``columns``."""
        shape = tuple(self._measured_cells[j] for j in columns)
        total = np.zeros(math.prod(shape), np.int64)
        for start in range(0, len(self.synthetic), _BLOCK):
            block = self.synthetic[start : start + _BLOCK].astype(np.int64)
            cells = tuple(self._merged[j][block[:, j]] if j in self._merged else block[:, j] for j in columns)
            total += np.bincount(np.ravel_multi_index(cells, shape), minlength=len(total))
        return (total / max(1, len(self.synthetic))).reshape(shape)
