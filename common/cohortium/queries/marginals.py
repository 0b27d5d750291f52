"""Counts of the cells of chosen tables of one to three columns, person-bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cohortium.data.binning import merge, read_merged, single_cells
from cohortium.data.encoding import Codes, HeldArray
from cohortium.errors import StudyError, WireError
from cohortium.neural.state import read_state
from cohortium.privacy.accounting import Events, Gaussian
from cohortium.privacy.discrete_gaussian import LARGEST_TABLE, Bounded, Noised, Scales, add_noise, noise_multiplier
from cohortium.privacy.randomness import Randomness
from cohortium.queries.contribution_bounding import EqualWeight, at_most, split_units

IntArray = npt.NDArray[np.int64]
MAX_WIDTH = 20_000_000
MAX_ORDER = 3
_BLOCK = 1 << 15  # rows at a time: a processor keeps their positions in a table at hand


@dataclass(frozen=True)
class Marginals:
    """One table per entry of ``tables``: how many rows fall into each combination of its columns' cells.

    sizes: cells of every column of the schema.
    merged: cells of every column as the tables have it, where ``state`` puts neighbouring cells together; else empty.
    state: the merged cell of every cell, column after column (safetensors, ``binning.read_merged``).
    tables: column positions of each table, ascending, one to three of them.
    weights: relative precision of each table; a table of weight w gets noise of relative scale 1 / sqrt(w).
    grid: a row counts ``grid``, so that even little noise is an integer of many grid units.
    equal_weight: "rows": at most m = rows_per_person rows of a person count, each ``grid``; "persons": all rows of a
    person count, m * grid units together (``contribution_bounding.split_units``), and the tables count persons.

    Formal guarantee. Either way a person's rows have at most m * grid units in all, the same in every table, and a
    row is in one cell of each table: what a person adds to a table are nonnegative integers of sum at most m * grid,
    and their L2 norm is at most their sum. So adding or removing a person changes table t by at most m * grid in L2
    and values / relative scale by at most m * grid * sqrt(sum of weights). Whatever the state says, a row is in one merged
    cell of each column: the bound holds at every state, and the width is that of ``merged``.

    Edge cases: no rows give the noise alone; a person with more than m rows counts with m random ones, or under
    "persons", with more than m * grid rows, with one unit each of so many random ones.
    """

    sizes: tuple[int, ...]
    tables: tuple[tuple[int, ...], ...]
    weights: tuple[float, ...]
    rows_per_person: int = 1
    grid: int = 1
    equal_weight: EqualWeight = "rows"
    merged: tuple[int, ...] = ()
    state: bytes = b""
    kind = "marginals"
    shares_noise = True

    def __post_init__(self) -> None:
        ordered = all(1 <= len(t) <= MAX_ORDER and list(t) == sorted(set(t)) for t in self.tables)
        known = all(t[0] >= 0 and t[-1] < len(self.sizes) for t in self.tables)
        if not (self.tables and ordered and known) or len(set(self.tables)) < len(self.tables):
            raise StudyError(
                "E_PLAN_LIMIT", "marginals", "a table is not one to three different columns", "Correct the tables."
            )
        if len(self.weights) != len(self.tables) or not all(math.isfinite(w) and w > 0 for w in self.weights):
            raise StudyError(
                "E_PLAN_PRIVACY", "marginals", "every table needs a positive weight", "Correct the weights."
            )
        if self.merged and not _fewer(self.merged, self.sizes):
            raise StudyError(
                "E_PLAN_LIMIT", "marginals", "a column has more merged cells than cells", "Correct the merged sizes."
            )
        if self.width > MAX_WIDTH:
            raise StudyError(
                "E_PLAN_LIMIT",
                "marginals",
                f"the tables have {self.width} cells, allowed are {MAX_WIDTH}",
                "Declare fewer bins, or fewer targets.",
            )

    @property
    def counted(self) -> tuple[int, ...]:
        """Cells of every column as the tables have it."""
        return self.merged or self.sizes

    def shape(self, table: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.counted[j] for j in table)

    @cached_property
    def cells(self) -> IntArray:
        """(sum of sizes,) the cell that every cell of the schema is counted in; WireError for an invalid state."""
        if not self.merged:
            return single_cells(self.sizes)
        state = read_state(self.state, {"cells": sum(self.sizes)})
        return read_merged(state["cells"], self.sizes, self.merged)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Cells of each table."""
        return tuple(math.prod(self.shape(t)) for t in self.tables)

    @property
    def width(self) -> int:
        return sum(self.lengths)

    @cached_property
    def scales(self) -> Scales:
        return Scales(tuple((n, 1 / math.sqrt(w)) for n, w in zip(self.lengths, self.weights, strict=True)))

    @property
    def sensitivity(self) -> float:
        return self.rows_per_person * self.grid * math.sqrt(math.fsum(self.weights)) * (1 + 1e-12)

    def sigmas(self, multiplier: float) -> tuple[float, ...]:
        """Standard deviation of the noise of each table, in rows."""
        return tuple(multiplier * self.sensitivity * scale / self.grid for _, scale in self.scales.runs)

    def with_state(self, state: bytes) -> Self:
        if state and not self.merged:
            raise WireError("E_STATE_SHAPE", "marginals", "counts depend on no model state", "Send none.")
        at_state = replace(self, state=state)
        return at_state if len(at_state.cells) else self

    def events(self, multiplier: float) -> Events:
        return (Gaussian(noise_multiplier(multiplier, self.sensitivity, self.scales)),)

    def draws(self, multiplier: float) -> tuple[int, float]:
        return self.width, multiplier * self.sensitivity * self.scales.largest

    def reach(self, persons: int) -> int:
        return persons * self.rows_per_person * self.grid

    def contribute(self, codes: Codes, randomness: Randomness) -> Bounded:
        """The bounded counts, un-noised."""
        if self.equal_weight == "persons":
            counts = self._count(codes, split_units(codes.persons, self.rows_per_person * self.grid, randomness))
        else:
            counts = self.grid * self._count(at_most(codes, self.rows_per_person, randomness))
        return Bounded(counts, self.sensitivity, self.scales)

    def answer(self, codes: Codes, multiplier: float, randomness: Randomness) -> Noised:
        return add_noise(self.contribute(codes, randomness), multiplier, randomness)

    def _count(self, codes: Codes, units: IntArray | None = None) -> IntArray:
        """(width,) the rows in every cell, or their ``units``: sums of integers below 2**53, exact in float64."""
        counts = {
            of: np.zeros(math.prod(self.shape(of)), np.int64) for of in map(self._within.__getitem__, self.tables)
        }
        for start in range(0, len(codes), _BLOCK):
            part = slice(start, start + _BLOCK)
            block = self._merged(codes.values[part]).T.astype(np.int64, order="C")  # each column in one piece
            weights = None if units is None else units[part].astype(np.float64)
            for table, total in counts.items():
                total += np.bincount(self._cells(block, table), weights, len(total)).astype(np.int64)
        return np.concatenate([self._read_off(counts, table) for table in self.tables])

    @cached_property
    def _within(self) -> dict[tuple[int, ...], tuple[int, ...]]:
        """For every table the one that is counted for it: itself, or another that has all of its columns."""
        within: dict[tuple[int, ...], tuple[int, ...]] = {}
        for table in sorted(self.tables, key=len, reverse=True):
            for order in range(1, len(table) + 1):
                for part in combinations(table, order):
                    within.setdefault(part, table)
        return within

    def _read_off(self, counts: dict[tuple[int, ...], IntArray], table: tuple[int, ...]) -> IntArray:
        """(cells,) a table's counts, summed over the columns that only the one counted for it has."""
        of = self._within[table]
        others = tuple(axis for axis, j in enumerate(of) if j not in table)
        found: IntArray = counts[of].reshape(self.shape(of)).sum(axis=others).ravel()
        return found

    def _merged(self, values: HeldArray) -> HeldArray:
        return merge(values, self.sizes, self.cells) if self.merged else values

    def _cells(self, block: IntArray, table: tuple[int, ...]) -> IntArray:
        """(rows,) position of each row's cell in the table, the last column running fastest."""
        cells: IntArray = block[table[0]]
        for j in table[1:]:
            cells = cells * self.counted[j]
            cells += block[j]
        return cells

    def split(self, values: npt.NDArray[Any]) -> dict[tuple[int, ...], npt.NDArray[np.float64]]:
        """Tables in rows (in persons, where those weigh the same), in their own shapes, from one answer or a sum."""
        parts = np.split(values / self.grid, np.cumsum(self.lengths)[:-1])
        return {t: part.reshape(self.shape(t)) for t, part in zip(self.tables, parts, strict=True)}

    def describe(self) -> dict[str, Any]:
        orders = {k: sum(len(t) == k for t in self.tables) for k in (1, 2, 3)}
        document = {
            "kind": self.kind,
            "tables": len(self.tables),
            "tables_by_columns": {k: n for k, n in orders.items() if n},
        }
        return {**document, "cells": sum(self.sizes), "merged_cells": sum(self.merged)} if self.merged else document


def _fewer(merged: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
    return len(merged) == len(sizes) and all(1 <= k <= n for k, n in zip(merged, sizes, strict=True))


def fitted_to_grid(query: Marginals, multiplier: float, units: float = 64.0) -> Marginals:
    """The same query on the coarsest grid (a power of two) whose finest noise spans at least ``units`` grid units.

    At 64 units the integer noise costs 0.05 % more than continuous noise would (discrete_gaussian.py). Where persons weigh the
    same, on the finest grid instead whose widest noise one table of the sampler draws, with a tenth to spare for a multiplier
    that is not final: the more units a person has, the more evenly they are split. Splitting adds at most 1/4 unit² of
    variance a row, so N / (2 grid)² to a cell of N rows: with 3,686 units to the widest noise's standard deviation
    or more, less than 1 part in 500 of that noise's variance for 100,000 rows of a cell. Nothing is lost otherwise.
    """
    row = multiplier * query.sensitivity / query.grid
    grid = 2 ** math.ceil(math.log2(units / (row * query.scales.smallest)))
    if query.equal_weight == "persons":
        grid = max(grid, 2 ** math.floor(math.log2(0.9 * LARGEST_TABLE / (row * query.scales.largest))))
    return replace(query, grid=max(1, grid))
