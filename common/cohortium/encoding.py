"""Step 2: tables to codes and back.

``encode`` is a map of single rows: what becomes of a row depends on that row and the schema alone, so one person's
rows change nobody else's codes and nothing about the table is learnt on the way (SECURITY.md P10 to P12). ``decode``
can only emit values the schema declares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import singledispatch
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.absent import as_declared, with_blanks, words_of
from cohortium.categories import category_key, reader
from cohortium.errors import SchemaError
from cohortium.grids import decimal, places
from cohortium.identifiers import Identifiers, identifiers_of, numbered
from cohortium.moments import as_written, moments_of
from cohortium.schema import (
    FALSE_WORDS,
    SECONDS,
    TRUE_WORDS,
    Boolean,
    Categorical,
    Continuous,
    Datetime,
    Ordinal,
    Schema,
)
from cohortium.spreading import Ranges, beside_points, spread, stretches
from cohortium.values import MISSING_WORDS as MISSING_WORDS
from cohortium.values import numbers_of
from cohortium.values import told_apart as told_apart
from cohortium.written import write_numbers, written

IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.int16]
HeldArray = npt.NDArray[np.integer[Any]]  # as small as the cells allow
INVALID = -1


@dataclass(frozen=True)
class Codes:
    """An institution's table in codes. Private: it never leaves the custodian.

    values: (rows, columns) small integers, each in 0 .. sizes[column] - 1; int16, or the type of ``held_type``.
    persons: (rows,) int64 from 0, equal for rows of one person and for no others.
    left_out: rows outside the table, for the institution's own eyes. breaking: how many of them break a constraint and are
    valid otherwise.
    """

    values: HeldArray
    persons: IntArray
    sizes: tuple[int, ...]
    left_out: int = 0
    breaking: int = 0

    def __len__(self) -> int:
        return len(self.values)


def encode(table: pd.DataFrame, schema: Schema) -> Codes:
    """Codes of every row that fits the schema.

    Columns may come in any order and may be more than the schema's; a column that is missing raises SchemaError
    E_SCHEMA_MISSING. No value raises: numbers beyond the bounds are clipped, undeclared categories go to ``other`` or
    count as missing, what cannot be read counts as missing, and a row with a missing value in a column that is not
    nullable is left out, as is a row that does not say whose it is or breaks one of the schema's constraints.
    """
    codes, identifiers = _encoded(table, schema)
    return replace(codes, persons=numbered([identifiers], len(codes)))


def encode_parts(parts: Iterable[pd.DataFrame], schema: Schema) -> Codes:
    """Like ``encode`` over a table that comes in parts; holds one or two bytes a cell in memory, never the table.

    Of the persons it holds the identifiers until all parts have come, and then their numbers.
    """
    held = held_type(schema.sizes)
    codes: list[Codes] = []
    identifiers: list[Identifiers | None] = []
    for part in parts:
        one, theirs = _encoded(part, schema)
        codes.append(replace(one, values=one.values.astype(held)))
        identifiers.append(theirs)
    left_out, breaking = sum(c.left_out for c in codes), sum(c.breaking for c in codes)
    values = _joined(codes, np.empty((sum(map(len, codes)), len(schema.columns)), held))
    return Codes(values, numbered(identifiers, len(values)), schema.sizes, left_out, breaking)


def _encoded(table: pd.DataFrame, schema: Schema) -> tuple[Codes, Identifiers | None]:
    """Codes without persons, and whose rows they are; None where each is its own person's."""
    check_columns(table.columns, schema)
    index = indices(table, schema)
    values = codes_at(index, schema)
    persons = None if schema.person is None else identifiers_of(table[schema.person])
    fits = (values != INVALID).all(axis=1)
    if persons is not None:
        fits &= persons.known
    kept = fits & ~schema.rules.broken(index) if schema.constraints else fits
    left_out, breaking = int((~kept).sum()), int((fits & ~kept).sum())
    codes = Codes(np.ascontiguousarray(values[kept]), np.empty(0, np.int64), schema.sizes, left_out, breaking)
    return codes, None if persons is None else persons.at(kept)


def held_type(sizes: tuple[int, ...]) -> np.dtype[Any]:
    """The smallest type that holds every column's codes."""
    return np.dtype(np.uint8 if max(sizes) <= 256 else np.uint16)


def _joined(codes: list[Codes], values: HeldArray) -> HeldArray:
    """The values of all parts, in ``values``. The list is emptied on the way: few rows are ever held twice."""
    end = len(values)
    while codes:  # from the last on, which is what was allocated last
        part = codes.pop()
        start = end - len(part)
        values[start:end] = part.values
        end = start
    return values


def decode(
    values: npt.NDArray[np.integer[Any]],
    schema: Schema,
    rng: np.random.Generator,
    within: Mapping[int, Ranges] = MappingProxyType({}),
) -> pd.DataFrame:
    """A table from (rows, columns) codes: values of a bin are drawn evenly on the column's scale and grid.

    within: for some columns the grid indices that values are drawn from, wherever the bin has some of them.
    """
    return table_at(draw_indices(values, schema, rng, within), schema)


def indices(table: pd.DataFrame, schema: Schema) -> IntArray:
    """(rows, columns) grid index of every value of a table, INVALID where a row has no valid value."""
    found = np.empty((len(table), len(schema.columns)), np.int64)
    for j, column in enumerate(schema.columns):
        found[:, j] = index_column(column, table[column.name])
    return found


def codes_at(index: IntArray, schema: Schema) -> CodeArray:
    """(rows, columns) codes of the values at grid ``index``; INVALID where a value is missing that may not be."""
    values = np.empty(index.shape, np.int16)
    for j, column in enumerate(schema.columns):
        cells = cells_at(column, index[:, j])
        values[:, j] = np.where(cells == INVALID, column.values if column.nullable else INVALID, cells)
    return values


def draw_indices(
    values: npt.NDArray[np.integer[Any]],
    schema: Schema,
    rng: np.random.Generator,
    within: Mapping[int, Ranges] = MappingProxyType({}),
) -> IntArray:
    """(rows, columns) a grid index in every cell of (rows, columns) codes, INVALID for a missing value. within: as in ``decode``."""
    drawn = np.empty(values.shape, np.int64)
    for j, column in enumerate(schema.columns):
        cells = values[:, j].astype(np.int64)
        missing = cells >= column.values
        drawn[:, j] = np.where(missing, INVALID, draw_index(column, np.where(missing, 0, cells), rng, within.get(j)))
    return drawn


def table_at(index: IntArray, schema: Schema) -> pd.DataFrame:
    """The table of the values at (rows, columns) grid ``index``, missing where INVALID."""
    columns = {}
    for j, column in enumerate(schema.columns):
        missing = index[:, j] == INVALID
        columns[column.name] = values_at(column, np.where(missing, 0, index[:, j]), missing)
    return pd.DataFrame(columns)


def check_columns(names: Iterable[str], schema: Schema) -> None:
    """SchemaError E_SCHEMA_DUP or E_SCHEMA_MISSING unless every declared column is there exactly once."""
    names = list(names)
    wanted = [*schema.names, *([schema.person] if schema.person else [])]
    for name in wanted:
        if names.count(name) > 1:
            raise SchemaError("E_SCHEMA_DUP", "table", f"column {name!r} occurs twice", "Rename or remove one of them.")
        if name not in names:
            raise SchemaError(
                "E_SCHEMA_MISSING",
                "table",
                f"column {name!r} of the schema is missing",
                "Add it, or map another column to it.",
            )


def encode_column(column: Any, values: pd.Series) -> IntArray:
    """(rows,) int64 cells of one column, INVALID where a row has no valid value."""
    return cells_at(column, index_column(column, values))


@singledispatch
def index_column(column: Any, values: pd.Series) -> IntArray:
    """(rows,) int64 grid index of every value, INVALID where a row has none; a category's is its cell."""
    raise TypeError(type(column).__name__)


@singledispatch
def cells_at(column: Any, index: IntArray) -> IntArray:
    """(rows,) the cell of every grid ``index``; INVALID stays so."""
    return index


@singledispatch
def draw_index(column: Any, cells: IntArray, rng: np.random.Generator, within: Ranges | None = None) -> IntArray:
    """(rows,) a grid index in each of valid ``cells``, evenly on the column's scale. within: as in ``decode``."""
    return cells


@singledispatch
def values_at(column: Any, index: IntArray, missing: npt.NDArray[np.bool_]) -> Any:
    """One column of the values at grid ``index``; missing where ``missing``, whatever the index is there."""
    raise TypeError(type(column).__name__)


def _by_distinct_value(values: pd.Series, cell_of: Callable[[object], int]) -> IntArray:
    """Apply ``cell_of`` once per distinct value."""
    numbers, distinct = pd.factorize(told_apart(values), use_na_sentinel=True)
    cells = np.array([*(cell_of(v) for v in distinct), INVALID], np.int64)
    return cells[numbers]


@index_column.register(Categorical)
@index_column.register(Ordinal)
def _index_category(column: Categorical | Ordinal, values: pd.Series) -> IntArray:
    place = reader(column.categories)
    other, absent = getattr(column, "other", None), words_of(column)
    rest = INVALID if other is None else place(other)

    def cell_of(value: object) -> int:
        if (found := place(value)) is not None:
            return found
        return INVALID if rest is None or category_key(value).lower() in absent else rest

    return _by_distinct_value(values, cell_of)


@index_column.register
def _index_boolean(column: Boolean, values: pd.Series) -> IntArray:
    words = {**dict.fromkeys(FALSE_WORDS, 0), **dict.fromkeys(TRUE_WORDS, 1)}
    values = with_blanks(column, values)
    return _by_distinct_value(values, lambda value: words.get(category_key(value).lower(), INVALID))


@index_column.register
def _index_continuous(column: Continuous, values: pd.Series) -> IntArray:
    return column.index_of(numbers_of(as_declared(column, values)))


@cells_at.register(Continuous)
@cells_at.register(Datetime)
def _cells_of_bins(column: Continuous | Datetime, index: IntArray) -> IntArray:
    cells = np.searchsorted(column.cuts, index, side="right") - 1
    for k, point in enumerate(column.point_indices):
        cells = np.where(index == point, len(column.cuts) - 1 + k, cells)
    return np.where(index == INVALID, INVALID, np.clip(cells, 0, column.values - 1))


@index_column.register
def _index_datetime(column: Datetime, values: pd.Series) -> IntArray:
    moments, step = moments_of(with_blanks(column, values), column.format), SECONDS[column.resolution]
    seconds = _seconds_after(moments, column.lower)
    steps = np.minimum(np.clip(seconds, 0, None) // step, column.grid - 1)
    for k, special in enumerate(column.special):
        steps = np.where(_seconds_after(moments, special) // step == 0, column.grid + k, steps)
    return np.where(np.isnan(seconds), INVALID, steps).astype(np.int64)


def _seconds_after(moments: pd.Series, start: datetime) -> npt.NDArray[np.float64]:
    """(rows,) seconds from ``start`` on, NaN for a moment that is missing."""
    apart = moments.to_numpy().astype("datetime64[us]") - np.datetime64(start, "us")
    return np.where(np.isnat(apart), np.nan, apart.astype(np.int64) / 1e6)


@values_at.register(Categorical)
@values_at.register(Ordinal)
def _category_values(column: Categorical | Ordinal, index: IntArray, missing: npt.NDArray[np.bool_]) -> Any:
    if isinstance(column.categories[0], int):
        return _whole_numbers(np.array(column.categories, np.int64)[index], missing, column.nullable)
    return pd.Series(np.array(column.categories, object)[index], dtype="str").mask(missing)


@values_at.register
def _boolean_values(column: Boolean, index: IntArray, missing: npt.NDArray[np.bool_]) -> Any:
    if column.spelling is not None:
        return pd.Series(np.array(column.spelling, object)[index], dtype="str").mask(missing)
    truth = pd.Series(index == 1)
    return truth.astype("boolean").mask(missing) if column.nullable else truth


@draw_index.register
def _draw_number(
    column: Continuous, cells: IntArray, rng: np.random.Generator, within: Ranges | None = None
) -> IntArray:
    bins = len(column.cuts) - 1
    inside = np.minimum(cells, bins - 1)
    index = spread(column, *stretches(column, inside, within, rng), rng)
    index = beside_points(column, index, column.cuts[inside], column.cuts[inside + 1] - 1)
    return _or_points(column, cells, index)


def _or_points(column: Continuous | Datetime, cells: IntArray, index: IntArray) -> IntArray:
    """``index``, but where a cell is a single value's the index of that."""
    bins, points = len(column.cuts) - 1, column.point_indices
    return np.where(cells >= bins, points[np.maximum(cells - bins, 0)], index) if len(points) else index


@values_at.register
def _numbers(column: Continuous, index: IntArray, missing: npt.NDArray[np.bool_]) -> Any:
    numbers = column.numbers_at(index)
    if (how := written(column.format or "")) is not None:
        return pd.Series(write_numbers(numbers, _decimals(column), how), dtype="str").mask(missing)
    if column.whole:
        return _whole_numbers(np.where(missing, 0, numbers).astype(np.int64), missing, column.nullable)
    return pd.Series(np.where(missing, np.nan, numbers))


def _decimals(column: Continuous) -> int | None:
    """With how many decimals its numbers are written; None for as many as each needs."""
    return None if column.digits is not None else max(column.decimals, places(decimal(column.lower)))


@draw_index.register
def _draw_moment(column: Datetime, cells: IntArray, rng: np.random.Generator, within: Ranges | None = None) -> IntArray:
    inside = np.minimum(cells, len(column.cuts) - 2)
    index = rng.integers(*stretches(column, inside, within, rng), endpoint=True)
    index = beside_points(column, index, column.cuts[inside], column.cuts[inside + 1] - 1)
    return _or_points(column, cells, index)


@values_at.register
def _moments_at(column: Datetime, index: IntArray, missing: npt.NDArray[np.bool_]) -> Any:
    beyond = index >= column.grid
    moments = np.datetime64(column.lower, "s") + (np.where(beyond, 0, index) * SECONDS[column.resolution]).astype(
        "timedelta64[s]"
    )
    for k, special in enumerate(column.special):
        moments = np.where(index == column.grid + k, np.datetime64(special, "s"), moments)
    return as_written(moments, missing, column.format) if column.format else pd.Series(moments).mask(missing)


def _whole_numbers(numbers: IntArray, missing: npt.NDArray[np.bool_], nullable: bool) -> pd.Series:
    """int64, or the nullable Int64 where the column may be missing."""
    return pd.Series(numbers).astype("Int64").mask(missing) if nullable else pd.Series(numbers)
