"""Counts of every column by itself, at several resolutions at once, person-bounded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from cohortium.data.encoding import Codes
from cohortium.errors import StudyError, WireError
from cohortium.queries.contribution_bounding import EqualWeight
from cohortium.queries.counts import Counts

IntArray = npt.NDArray[np.int64]
COARSE = (16, 128)  # groups of neighbouring cells, where a column has many more cells
FALL = 0.7  # each finer level has this power of two less weight
_BLOCK = 1 << 15


class ColumnLevel(NamedTuple):
    """A histogram of one column at one resolution. cells: (cells of the schema,) the cell of the table that each is counted in."""

    column: int
    cells: IntArray
    weight: float


@dataclass(frozen=True)
class NestedHistograms(Counts):
    """Of every column a few histograms, of some wide groups of neighbouring cells and of all cells by themselves.

    How many rows lie between two values is a sum of few counts then, where it would be one of hundreds in a histogram of
    single cells alone, each with its noise (Hay, Rastogi, Miklau, Suciu 2010, arXiv 0904.0942, who halve at each level).

    ordered: of every column, how many of its cells, the first ones, lie in an order; the others are cells by
    themselves at every level.

    Formal guarantee: that of ``Counts``. A row is in one cell of each level of each column, and the weights of a
    column's levels add up to 1.
    """

    sizes: tuple[int, ...]
    ordered: tuple[int, ...]
    rows_per_person: int = 1
    grid: int = 1
    equal_weight: EqualWeight = "rows"
    state: bytes = b""
    kind = "histograms"

    def __post_init__(self) -> None:
        matching = len(self.ordered) == len(self.sizes) and len(self.sizes) > 0
        if not (matching and all(0 <= n <= k and k > 0 for n, k in zip(self.ordered, self.sizes, strict=True))):
            raise StudyError(
                "E_PLAN_LIMIT", "histograms", "a column has more ordered cells than cells", "Correct them."
            )
        self.require_room()

    @cached_property
    def levels(self) -> tuple[ColumnLevel, ...]:
        """Of every column from coarse to fine; the last one of each has every cell by itself."""
        columns = zip(self.ordered, self.sizes, strict=True)
        return tuple(ColumnLevel(j, *level) for j, (n, size) in enumerate(columns) for level in _levels(n, size))

    @cached_property
    def tables(self) -> tuple[tuple[int, ...], ...]:  # type: ignore[override]
        """The column of each level."""
        return tuple((level.column,) for level in self.levels)

    @cached_property
    def weights(self) -> tuple[float, ...]:  # type: ignore[override]  # of the levels, which nobody chooses
        return tuple(level.weight for level in self.levels)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        return tuple(int(level.cells[-1]) + 1 for level in self.levels)

    def with_state(self, state: bytes) -> Self:
        if state:
            raise WireError("E_STATE_SHAPE", "histograms", "counts depend on no model state", "Send none.")
        return self

    def at_levels(self, single: list[IntArray]) -> IntArray:
        """(width,) what each level counts, given each column's (cells,) counts of single cells."""
        return np.concatenate([_grouped(single[level.column], level.cells) for level in self.levels])

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "columns": len(self.sizes), "tables": len(self.levels), "cells": sum(self.sizes)}

    def _count(self, codes: Codes, units: IntArray | None = None) -> IntArray:
        single = [np.zeros(size, np.int64) for size in self.sizes]
        for start in range(0, len(codes), _BLOCK):
            part = slice(start, start + _BLOCK)
            weights = None if units is None else units[part].astype(np.float64)
            for j, total in enumerate(single):
                total += np.bincount(codes.values[part, j], weights, len(total)).astype(np.int64)
        return self.at_levels(single)


def _levels(ordered: int, size: int) -> Iterator[tuple[IntArray, float]]:
    """The cell of each cell at every level, and the level's weight."""
    levels = groups(ordered, size)
    weights = [2 ** (-FALL * depth) for depth in range(len(levels))]
    for cells, weight in zip(levels, weights, strict=True):
        yield cells, weight / math.fsum(weights)


def groups(ordered: int, size: int) -> list[IntArray]:
    """(cells,) of each level, from coarse to fine, the cell that each of a column's cells is counted in."""
    found = []
    for k in [k for k in COARSE if 2 * k < ordered] + [ordered]:
        inside = np.arange(ordered, dtype=np.int64) * k // max(1, ordered)
        found.append(np.concatenate([inside, k + np.arange(size - ordered, dtype=np.int64)]))
    return found


def _grouped(counts: IntArray, cells: IntArray) -> IntArray:
    """(groups,) integer sums of neighbouring counts; every group has a cell."""
    return np.add.reduceat(counts, np.flatnonzero(np.diff(cells, prepend=-1)))
