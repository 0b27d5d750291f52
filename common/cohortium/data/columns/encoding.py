"""Encoding of one column: values to grid indices and cells, and back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import singledispatch
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.columns import FALSE_WORDS, SECONDS, TRUE_WORDS, Boolean, Categorical, Continuous, Datetime, Ordinal
from cohortium.data.columns.absent import as_declared, with_blanks, words_of
from cohortium.data.columns.categories import category_key, reader
from cohortium.data.columns.dequantization import Ranges, beside_points, dequantized, stretches
from cohortium.data.columns.grids import Even, decimal, places
from cohortium.data.columns.moments import as_written, moments_of
from cohortium.data.columns.values import MISSING_WORDS as MISSING_WORDS
from cohortium.data.columns.values import normalized as normalized
from cohortium.data.columns.values import numbers_of
from cohortium.data.columns.written import write_numbers, written

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
INVALID = -1


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
def inside(column: Any, values: pd.Series) -> BoolArray:
    """(rows,) whether a value is within the bounds once it is on the grid, rather than clipped to them; False where there is none."""
    raise TypeError(type(column).__name__)


@singledispatch
def draw_index(column: Any, cells: IntArray, rng: np.random.Generator, within: Ranges | None = None) -> IntArray:
    """(rows,) a grid index in each of valid ``cells``, evenly on the column's scale. within: as in ``decode``."""
    return cells


@singledispatch
def values_at(column: Any, index: IntArray, missing: npt.NDArray[np.bool_]) -> Any:
    """One column of the values at grid ``index``, missing where ``missing``."""
    raise TypeError(type(column).__name__)


def _by_distinct_value(values: pd.Series, cell_of: Callable[[object], int]) -> IntArray:
    """Apply ``cell_of`` once per distinct value."""
    numbers, distinct = pd.factorize(normalized(values), use_na_sentinel=True)
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


@inside.register
def _inside_numbers(column: Continuous, values: pd.Series) -> BoolArray:
    numbers = numbers_of(as_declared(column, values))
    with np.errstate(over="ignore", invalid="ignore"):
        steps = column.axis.index(numbers).round() if isinstance(column.axis, Even) else numbers
    first, last = (0, column.grid - 1) if isinstance(column.axis, Even) else (column.lower, column.upper)
    found: BoolArray = (steps >= first) & (steps <= last)
    return found


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


@inside.register
def _inside_moments(column: Datetime, values: pd.Series) -> BoolArray:
    seconds = _seconds_after(moments_of(with_blanks(column, values), column.format), column.lower)
    found: BoolArray = (seconds >= 0) & (seconds // SECONDS[column.resolution] < column.grid)
    return found


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
    index = dequantized(column, *stretches(column, inside, within, rng), rng)
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
