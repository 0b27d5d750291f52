"""The rows that are compared: the synthetic ones, real ones that nobody saw in the comparison, and the two ends of each scale.

Everything is compared in cells: those of the schema, ordered ones in at most ``BINS`` groups of equally many real rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.binning import ordered_cells
from cohortium.data.columns import Column, Continuous
from cohortium.data.columns.encoding import INVALID
from cohortium.data.encoding import judged, require_flat
from cohortium.data.identifiers import numbered
from cohortium.data.schema import Schema
from cohortium.errors import InputError
from cohortium.evaluation.estimates import GROUPS

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BINS = 16
LEAST = 5 * GROUPS  # persons, fewer of whom say nothing
MOST = 40_000  # persons of each side who are looked at


@dataclass(frozen=True)
class Rows:
    """Rows that fit the schema. index: (rows, columns) of their values on the columns' grids, INVALID where missing. codes: as
    ``data/encoding.py`` has them. persons: (rows,) whose each is, from 0.
    """

    index: IntArray
    codes: IntArray
    persons: IntArray

    def __len__(self) -> int:
        return len(self.index)

    def at(self, places: npt.NDArray[np.generic]) -> Rows:
        return Rows(self.index[places], self.codes[places], self.persons[places])

    @cached_property
    def count(self) -> int:
        """How many persons."""
        return len(np.unique(self.persons))


def read_rows(table: pd.DataFrame, schema: Schema) -> tuple[Rows, int]:
    """A table's rows that fit, and how many do not. Raises what ``judged`` raises."""
    require_flat(schema)
    found = judged(table, schema)
    kept = found.kept
    persons = numbered([found.whose], int(kept.sum()))
    return Rows(found.index[kept], found.values[kept].astype(np.int64), persons), int((~kept).sum())


@dataclass(frozen=True)
class Sample:
    """Rows in the cells of comparison. cells: (rows, columns). groups: (rows,) of the jackknife, all rows of a person in one."""

    rows: Rows
    cells: IntArray
    groups: IntArray

    def __len__(self) -> int:
        return len(self.cells)

    def at(self, places: npt.NDArray[np.generic]) -> Sample:
        return Sample(self.rows.at(places), self.cells[places], self.groups[places])

    def first(self, most: int) -> Sample:
        """At most so many rows. Samples are in a random order."""
        return self if len(self) <= most else self.at(np.arange(most))


@dataclass(frozen=True)
class Sides:
    """What is compared with ``reference``, real rows that are in none of the others.

    synthetic: the release's. real: as many others, which are as near as rows can be. independent: those with each column shuffled
    by itself, which no generator should be further away than. cut: how many persons were left out, so that it takes no longer.
    """

    schema: Schema
    sizes: tuple[int, ...]
    ordered: tuple[int, ...]
    reference: Sample
    synthetic: Sample
    real: Sample
    independent: Sample
    held_out: bool
    left_out: int
    cut: int
    ends: bool = True  # whether floor and ceiling are wanted

    @property
    def compared(self) -> dict[str, Sample]:
        ends = {"independent": self.independent, "real": self.real} if self.ends else {}
        return {"synthetic": self.synthetic, **ends}


def sides(
    schema: Schema,
    synthetic: pd.DataFrame,
    real: pd.DataFrame,
    holdout: pd.DataFrame | None,
    rng: np.random.Generator,
    most: int = MOST,
    rows_each: int | None = None,
) -> Sides:
    """All that is compared. Without ``holdout`` half of the persons of ``real`` are the reference.

    rows_each: at most so many real rows of a person, chosen at random, as a study counts them; None for all.
    Raises InputError E_EVALUATION where a table has too few persons to say anything.
    """
    own, left_out = _bounded(read_rows(real, schema), rows_each, rng)
    made, _ = read_rows(synthetic, replace(schema, person=None))
    if holdout is None:
        first, second = _halves(own, rng)
    else:
        first, (second, unfit) = own, _bounded(read_rows(holdout, schema), rows_each, rng)
        left_out += unfit
    for where, rows in (("data", first), ("data" if holdout is None else "holdout", second)):
        _require_enough(where, rows, LEAST)
    _require_enough("release", made, GROUPS)
    bins = [_edges(c, np.concatenate([first.codes[:, j], second.codes[:, j]])) for j, c in enumerate(schema.columns)]
    sizes = tuple(_size(c, edges) for c, edges in zip(schema.columns, bins, strict=True))
    chosen = [_some(rows, most, rng) for rows in (first, second, made)]
    cut = sum(rows.count - kept.count for rows, kept in zip((first, second, made), chosen, strict=True))
    a, b, s = (_sample(rows, schema.columns, bins, rng) for rows in chosen)
    mixed = _sample(_shuffled(a.rows, rng), schema.columns, bins, rng)
    ordered = tuple(len(edges) + 1 if is_ordered(c) else 0 for c, edges in zip(schema.columns, bins, strict=True))
    return Sides(schema, sizes, ordered, b, s, a, mixed, holdout is not None, left_out, cut)


def _bounded(read: tuple[Rows, int], rows_each: int | None, rng: np.random.Generator) -> tuple[Rows, int]:
    """At most so many rows of a person."""
    rows, left_out = read
    if rows_each is None:
        return read
    order = rng.permutation(len(rows))
    ranked = order[np.argsort(rows.persons[order], kind="stable")]
    starts = np.searchsorted(rows.persons[ranked], rows.persons[ranked], "left")
    return rows.at(np.sort(ranked[np.arange(len(ranked)) - starts < rows_each])), left_out


def _require_enough(where: str, rows: Rows, least: int) -> None:
    if rows.count < least:
        what = f"fewer than {least} persons have rows that fit the schema"
        raise InputError(
            "E_EVALUATION", where, what, "Pass the table of more persons, or look at its rows by schema check."
        )


def _halves(rows: Rows, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Of the persons."""
    first = (rng.permutation(rows.count) < rows.count // 2)[_ranks(rows)]
    return rows.at(first), rows.at(~first)


def _ranks(rows: Rows) -> IntArray:
    """(rows,) persons numbered from 0 without gaps."""
    return np.unique(rows.persons, return_inverse=True)[1].astype(np.int64)


def _some(rows: Rows, most: int, rng: np.random.Generator) -> Rows:
    """The rows of at most so many persons, in a random order."""
    kept = np.flatnonzero((rng.permutation(rows.count) < most)[_ranks(rows)])
    return rows.at(kept[rng.permutation(len(kept))])


def _shuffled(rows: Rows, rng: np.random.Generator) -> Rows:
    """Each column by itself, and each row a person's own."""
    index, codes = rows.index.copy(), rows.codes.copy()
    for j in range(index.shape[1]):
        order = rng.permutation(len(index))
        index[:, j], codes[:, j] = index[order, j], codes[order, j]
    return Rows(index, codes, np.arange(len(index)))


def _sample(rows: Rows, columns: Sequence[Column], bins: Sequence[FloatArray], rng: np.random.Generator) -> Sample:
    pairs = enumerate(zip(columns, bins, strict=True))
    cells = np.column_stack([_binned(c, edges, rows.codes[:, j]) for j, (c, edges) in pairs])
    groups = (rng.permutation(rows.count) % GROUPS)[_ranks(rows)]
    return Sample(rows, cells, groups)


def _edges(column: Column, codes: IntArray) -> FloatArray:
    """The first cells of all groups but the first, where a column's ordered cells are looked at in groups."""
    ordered = ordered_cells(column)
    there = codes[codes < ordered]
    if ordered <= BINS or not len(there):
        return np.arange(1.0, ordered)
    return np.unique(np.quantile(there, np.linspace(0, 1, BINS + 1)[1:-1]))


def _size(column: Column, edges: FloatArray) -> int:
    ordered = ordered_cells(column)
    return column.size if not ordered else len(edges) + 1 + column.size - ordered


def _binned(column: Column, edges: FloatArray, codes: IntArray) -> IntArray:
    ordered = ordered_cells(column)
    if not ordered:
        return codes
    places = np.searchsorted(edges, codes, "right")
    found: IntArray = np.where(codes < ordered, places, codes - ordered + len(edges) + 1)
    return found


def numbers(column: Column, index: IntArray) -> FloatArray:
    """(rows,) the values of an ordered column as numbers, NaN where missing; moments in steps of their grid, ranks from 0."""
    there = index != INVALID
    found = np.full(len(index), np.nan)
    inside = index[there]
    found[there] = column.numbers_at(inside) if isinstance(column, Continuous) else inside
    return found


def is_ordered(column: Column) -> bool:
    return ordered_cells(column) > 0
