"""What rules mean for the cells of columns: which values a cell can hold, and which cells no row can be in.

Values that no rule distinguishes from their neighbours may share a cell with them (``rule_boundaries``); a cell of a table that
breaks a constraint whatever its row holds is a structural zero (``impossible``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cohortium.data.columns import Column, Continuous, Datetime
from cohortium.data.columns.dequantization import grid_of, scale_of
from cohortium.data.conditions.described import Described
from cohortium.data.conditions.rules import MISSING, BoolArray, Classes, IntArray, Linear, Lookup, Ruled


@dataclass(frozen=True, eq=False)
class Reach:
    """What the values in each cell of a column can be, cells of the schema or merged ones.

    may: (cells, classes) for each of some classes, whether a value of the cell is in it. first, last: (cells,) the indices that
    all values lie between. missing: (cells,) whether a missing value is in the cell.
    """

    column: Column
    cells: IntArray
    count: int

    def may(self, classes: Classes) -> BoolArray:
        found = np.zeros((self.count, classes.count), bool)
        np.logical_or.at(found, self.cells, _fine_may(self.column, classes))
        return found

    def ends(self) -> tuple[IntArray, IntArray, BoolArray]:
        """(cells,) first and last index, the first beyond the last where there is none, and whether missing or a special value is in it."""
        first, last = cell_bounds(self.column)
        low, high = np.full(self.count, grid_of(self.column)), np.full(self.count, -1)
        scaled = (first != MISSING) & (last < scale_of(self.column))
        np.minimum.at(low, self.cells[scaled], first[scaled])
        np.maximum.at(high, self.cells[scaled], last[scaled])
        missing = np.zeros(self.count, bool)
        missing[self.cells[~scaled]] = True
        return low, high, missing


def cell_bounds(column: Column) -> tuple[IntArray, IntArray]:
    """(cells,) first and last grid index of every cell, MISSING of a missing value's."""
    if isinstance(column, Continuous | Datetime):
        first, last = _beside_points(column)
        first, last = (np.concatenate([end, column.point_indices]) for end in (first, last))
    else:
        first = last = np.arange(column.values)
    rest = np.full(column.size - column.values, MISSING)
    return np.concatenate([first, rest]).astype(np.int64), np.concatenate([last, rest]).astype(np.int64)


def _beside_points(column: Continuous | Datetime) -> tuple[IntArray, IntArray]:
    """(bins,) first and last index of every bin that has no cell of its own; of a bin without such all that it has."""
    first, last = column.cuts[:-1], column.cuts[1:] - 1
    low, high = first.copy(), last.copy()
    for point in column.taken:
        low += low == point
    for point in column.taken[::-1]:
        high -= high == point
    some = low <= high
    return np.where(some, low, first), np.where(some, high, last)


def rule_boundaries(schema: Ruled, j: int) -> BoolArray:
    """(cells,) whether a rule distinguishes the values of a column's cell from those of the cell before it."""
    column = schema.columns[j]
    first, _ = cell_bounds(column)
    found = np.zeros(column.size, bool)
    for rule in schema.rules.lookups:
        for k, classes in zip(rule.columns, rule.classes, strict=True):
            if k == j:
                found[1:] |= np.diff(classes.stretch(first)) != 0
    return found


def _fine_may(column: Column, classes: Classes) -> BoolArray:
    """(cells, classes) whether a value of the cell is in the class. Points in a bin have cells of their own, and are not in it."""
    first, last = cell_bounds(column)
    found = np.zeros((column.size, classes.count), bool)
    found[np.arange(column.size), classes.of(first)] = True
    if isinstance(column, Continuous | Datetime):
        bins, points = len(column.cuts) - 1, column.taken
        ends = np.append(classes.starts[1:], grid_of(column)) - 1
        found[:bins] = False
        for begin, end, label in zip(classes.starts, ends, classes.labels, strict=False):
            low, high = np.maximum(first[:bins], begin), np.minimum(last[:bins], end)
            taken = np.searchsorted(points, high, side="right") - np.searchsorted(points, low)
            found[:bins, label] |= high - low + 1 > np.where(high < low, 0, taken)
    return found


def impossible(
    schema: Ruled, columns: Sequence[int], shape: Sequence[int], cells: Sequence[IntArray | None] | None = None
) -> BoolArray:
    """Which cells of a table of some columns no row can be in that keeps the schema's constraints.

    columns: positions of one to three columns, the table's axes. shape: of the table. cells: for each column (cells of the
    schema,) the cell of the table that each is counted in, None where it is its own. What is found follows from single
    constraints: cells may be impossible beyond it.
    """
    given = cells or [None] * len(columns)
    reach = {
        j: Reach(schema.columns[j], np.arange(schema.columns[j].size) if c is None else c, n)
        for j, n, c in zip(columns, shape, given, strict=False)
    }
    found = np.zeros(tuple(shape), bool)
    for rule in (rule for rules in schema.rules.each for rule in rules if set(rule.columns) & set(columns)):
        possible = _possible_lookup if isinstance(rule, Lookup) else _possible_linear
        found |= ~possible(rule, schema, tuple(columns), reach)  # type: ignore[arg-type]
    return found


def _possible_lookup(
    rule: Lookup, schema: Described, columns: tuple[int, ...], reach: Mapping[int, Reach]
) -> BoolArray:
    """Over the table's axes (1 where the rule is not about a column): some classes of the cells may occur together."""
    table = rule.allowed
    for axis, (j, classes) in enumerate(zip(rule.columns, rule.classes, strict=True)):
        column = schema.columns[j]
        may = reach[j].may(classes) if j in reach else _fine_may(column, classes).any(axis=0, keepdims=True)
        table = np.moveaxis(np.tensordot(may.astype(np.float32), table.astype(np.float32), (1, axis)) > 0, 0, axis)
    kept = tuple(j for j in rule.columns if j in reach)
    table = table.reshape([reach[j].count for j in kept])
    return _on_axes(table, kept, columns)


def _possible_linear(
    rule: Linear, schema: Described, columns: tuple[int, ...], reach: Mapping[int, Reach]
) -> BoolArray:
    """The same of a weighted sum: it can be within its bounds, or a value of it can be missing."""
    lowest, highest = np.zeros((2, *[1] * len(columns)), np.int64)
    valued, vacuous = np.ones_like(lowest, bool), np.zeros_like(lowest, bool)
    for j, factor in zip(rule.columns, rule.factors, strict=True):
        column, kept = schema.columns[j], [j] if j in reach else []
        one = reach[j] if kept else Reach(column, np.zeros(column.size, np.int64), 1)
        first, last, missing = (_on_axes(ends, kept, columns) for ends in one.ends())
        lowest = lowest + factor * (first if factor > 0 else last)
        highest = highest + factor * (last if factor > 0 else first)
        valued, vacuous = valued & (first <= last), vacuous | missing
    found: BoolArray = vacuous | (valued & (lowest <= rule.high) & (highest >= rule.low))
    return found


def _on_axes(array: npt.NDArray[Any], kept: Sequence[int], columns: Sequence[int]) -> npt.NDArray[Any]:
    """An array over some of the columns, in ascending order, as one over all axes of a table: 1 where it has none."""
    sizes = iter(array.shape) if kept else iter(())
    return array.reshape([next(sizes) if j in kept else 1 for j in columns])
