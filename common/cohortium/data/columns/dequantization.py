"""Dequantization: a value is drawn within its cell, uniformly on the column's scale and grid, or within given ranges.

Ranges are of grid indices (for numbers and moments on the schema's grid, for listed values their rank): ascending, disjoint,
and with both ends included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
import numpy.typing as npt

from cohortium.data.columns import Column, Continuous, Datetime
from cohortium.data.columns.grids import Even

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Ranges = tuple[tuple[int, int], ...]


def joined(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """Ranges in any order, with overlapping ones joined."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def overlap(one: Ranges, other: Ranges) -> Ranges:
    """What lies in both."""
    common = [(max(a, c), min(b, d)) for a, b in one for c, d in other]
    return joined([(first, last) for first, last in common if first <= last])


def rest(ranges: Ranges, grid: int) -> Ranges:
    """What of the indices 0 .. grid - 1 lies in none of them."""
    ends = [-1, *(end for pair in ranges for end in pair), grid]
    gaps = [(last + 1, first - 1) for last, first in zip(ends[::2], ends[1::2], strict=True)]
    return tuple((first, last) for first, last in gaps if first <= last)


def scale_of(column: Column) -> int:
    """How many indices of a column are on its scale: all but the special values', which are behind them."""
    return column.grid if isinstance(column, Continuous | Datetime) else column.values


def grid_of(column: Column) -> int:
    """How many indices a column has."""
    return column.grid + len(column.special) if isinstance(column, Continuous | Datetime) else column.values


def on_scale(column: Column) -> Ranges:
    """The indices that ranges and means are about."""
    return ((0, scale_of(column) - 1),)


@dataclass(frozen=True)
class Pieces:
    """(pieces,) of bins, ascending: the bin of each, its first and last index, and its mass on the column's scale."""

    bins: IntArray
    first: IntArray
    last: IntArray
    mass: FloatArray

    def chosen(self, bins: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """(rows,) first and last index of a piece of every row's bin, drawn in proportion to mass; -1 if it has none."""
        ladder = np.concatenate([[0.0], np.cumsum(self.mass)])
        begin, end = (np.searchsorted(self.bins, bins, side) for side in ("left", "right"))
        place = ladder[begin] + rng.random(len(bins)) * (ladder[end] - ladder[begin])
        piece = np.clip(np.searchsorted(ladder, place, side="right") - 1, begin, np.maximum(begin, end - 1))
        first, last = (np.append(ends, -1)[np.minimum(piece, len(ends))] for ends in (self.first, self.last))
        none = begin == end
        return np.where(none, -1, first), np.where(none, -1, last)


@singledispatch
def parts_within(column: Any, ranges: Ranges) -> FloatArray:
    """(values,) which part of the values drawn for each of a column's cells lies in the ranges."""
    parts = np.zeros(column.values)
    for first, last in ranges:
        parts[first : last + 1] = 1.0
    return parts


@parts_within.register(Continuous)
@parts_within.register(Datetime)
def _parts_of_numbers(column: Continuous | Datetime, ranges: Ranges) -> FloatArray:
    points = [any(first <= point <= last for first, last in ranges) for point in column.point_indices]
    return np.concatenate([_parts_of_bins(column, ranges), np.array(points, np.float64)])


def _parts_of_bins(column: Continuous | Datetime, ranges: Ranges) -> FloatArray:
    pieces, bins = pieces_within(column, ranges), len(column.cuts) - 1
    whole = _mass(column, column.cuts[:-1], column.cuts[1:] - 1)
    parts = np.bincount(pieces.bins, pieces.mass, bins) / whole
    return np.minimum(parts, 1.0)


def pieces_within(column: Continuous | Datetime, ranges: Ranges) -> Pieces:
    """Where in the bins a value may first be put so that it ends up in the ranges."""
    ranges = overlap(ranges, on_scale(column))
    bins, first, last = _cut(column.cuts, _before_moving(column, ranges))
    return Pieces(bins, first, last, _mass(column, first, last))


def _cut(cuts: IntArray, ranges: Ranges) -> tuple[IntArray, IntArray, IntArray]:
    """(pieces,) the bin, first and last index of every piece of a range that lies in one bin."""
    bins, firsts, lasts = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for first, last in ranges:
        low, high = np.searchsorted(cuts, [first, last], side="right") - 1
        inside = np.arange(low, high + 1)
        bins.append(inside)
        firsts.append(np.maximum(cuts[inside], first))
        lasts.append(np.minimum(cuts[inside + 1] - 1, last))
    return np.concatenate(bins), np.concatenate(firsts), np.concatenate(lasts)


def _before_moving(column: Continuous | Datetime, ranges: Ranges) -> Ranges:
    """The indices that ``beside_points`` leaves in the ranges or moves into them."""
    points = column.taken
    if not len(points):
        return ranges
    bins = np.searchsorted(column.cuts, points, side="right") - 1
    moved = beside_points(column, points, column.cuts[bins], column.cuts[bins + 1] - 1)
    inside = [(int(p), int(p)) for p, to in zip(points, moved, strict=True) if any(a <= to <= b for a, b in ranges)]
    others = rest(joined([(int(p), int(p)) for p in points]), column.grid)
    return joined([*overlap(ranges, others), *inside])


def _mass(column: Continuous | Datetime, first: IntArray, last: IntArray) -> FloatArray:
    """(pieces,) width on the scale on which values are spread evenly."""
    if isinstance(column, Datetime) or column.scale == "linear":
        return (last - first + 1).astype(np.float64)
    low, high = _edges(column, first, last)
    return high - low


def _edges(column: Continuous, first: IntArray, last: IntArray) -> tuple[FloatArray, FloatArray]:
    """Half a step beyond the first and last indexs, on the column's scale."""
    low, high = (column.warp(_even(column).number(edge)) for edge in (first - 0.5, last + 0.5))
    return low, high


def _even(column: Continuous) -> Even:
    """The grid of a column with a scale, whose values are one step apart."""
    assert isinstance(column.axis, Even)  # noqa: S101 - as the schema sees to
    return column.axis


def dequantized(column: Continuous, first: IntArray, last: IntArray, rng: np.random.Generator) -> IntArray:
    """Indices drawn evenly, on the column's scale, between ``first`` and ``last`` (both included)."""
    if column.scale == "linear":
        return rng.integers(first, last, endpoint=True)
    low, high = _edges(column, first, last)
    drawn = column.unwarp(low + rng.random(len(first)) * (high - low))
    return np.clip(_even(column).nearest(drawn), first, last)


def beside_points(column: Continuous | Datetime, index: IntArray, first: IntArray, last: IntArray) -> IntArray:
    """``index`` moved to the nearest grid value of its bin that has no cell of its own, if the bin has one."""
    moved, points = index, column.taken
    for point in points:
        moved = np.where(moved == point, point + 1, moved)
    moved = np.minimum(moved, last)
    for point in points[::-1]:
        moved = np.where(moved == point, point - 1, moved)
    return np.where(moved < first, index, moved)


def stretches(
    column: Continuous | Datetime, bins: IntArray, ranges: Ranges | None, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """(rows,) first and last of the indices between which each row's value is drawn: its bin's, or a piece of it within the ranges, if any."""
    first, last = column.cuts[bins], column.cuts[bins + 1] - 1
    if ranges is None:
        return first, last
    begin, end = pieces_within(column, ranges).chosen(bins, rng)
    return np.where(begin < 0, first, begin), np.where(begin < 0, last, end)
