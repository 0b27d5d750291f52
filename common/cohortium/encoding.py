"""Step 2: tables to codes and back.

``encode`` is a map of single rows: what becomes of a row depends on that row and the schema alone, so one person's
rows change nobody else's codes and nothing about the table is learnt on the way (SECURITY.md P10 to P12). ``decode``
can only emit values the schema declares.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import singledispatch
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.absent import as_declared, with_blanks, words_of
from cohortium.errors import SchemaError
from cohortium.identifiers import Identifiers, identifiers_of, numbered
from cohortium.schema import SECONDS, Boolean, Categorical, Continuous, Datetime, Ordinal, Schema
from cohortium.spreading import Ranges, beside_points, spread, stretches
from cohortium.values import MISSING_WORDS as MISSING_WORDS
from cohortium.values import told_apart as told_apart
from cohortium.written import write_numbers, written

IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.int16]
HeldArray = npt.NDArray[np.integer[Any]]  # as small as the cells allow
TRUE_WORDS = frozenset({"true", "t", "yes", "y", "1", "1.0"})
FALSE_WORDS = frozenset({"false", "f", "no", "n", "0", "0.0"})
INVALID = -1
_UNIT_FOLLOWS = int(pd.__version__.partition(".")[0]) >= 3  # before, every column is read in nanoseconds


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


def category_key(value: object) -> str:
    """How a category is compared: trimmed text in normal form C; whole numbers without a decimal point."""
    if isinstance(value, float | np.floating) and value.is_integer():
        value = int(value)
    text = unicodedata.normalize("NFC", str(value)).strip()
    return text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdigit() else text


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
    index = {category_key(c): i for i, c in enumerate(column.categories)}
    other, absent = getattr(column, "other", None), words_of(column)

    def cell_of(value: object) -> int:
        if (key := category_key(value)) in index:
            return index[key]
        return INVALID if other is None or key.lower() in absent else index[other]

    return _by_distinct_value(values, cell_of)


@index_column.register
def _index_boolean(column: Boolean, values: pd.Series) -> IntArray:
    words = {**dict.fromkeys(FALSE_WORDS, 0), **dict.fromkeys(TRUE_WORDS, 1)}
    values = with_blanks(column, values)
    return _by_distinct_value(values, lambda value: words.get(category_key(value).lower(), INVALID))


@index_column.register
def _index_continuous(column: Continuous, values: pd.Series) -> IntArray:
    values = as_declared(column, values)
    if values.dtype.kind in "mM":  # moments are no numbers, whatever they are stored as
        values = values.astype("string")
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    steps = (np.clip(numbers, column.lower, column.upper) - column.lower) * 10**column.decimals
    return np.where(np.isnan(steps), INVALID, steps.round()).astype(np.int64)


@cells_at.register
def _cells_continuous(column: Continuous, index: IntArray) -> IntArray:
    cells = np.searchsorted(column.cuts, index, side="right") - 1
    for k, point in enumerate(column.point_indices):
        cells = np.where(index == point, len(column.cuts) - 1 + k, cells)
    return np.where(index == INVALID, INVALID, np.clip(cells, 0, column.values - 1))


@index_column.register
def _index_datetime(column: Datetime, values: pd.Series) -> IntArray:
    values = with_blanks(column, values)
    seconds = (_moments(values) - pd.Timestamp(column.lower)).dt.total_seconds().to_numpy(dtype=np.float64)
    steps = np.clip(seconds, 0, None) // SECONDS[column.resolution]
    return np.where(np.isnan(seconds), INVALID, np.minimum(steps, column.grid - 1)).astype(np.int64)


@cells_at.register
def _cells_datetime(column: Datetime, index: IntArray) -> IntArray:
    return np.where(index == INVALID, INVALID, np.searchsorted(column.cuts, index, side="right") - 1)


def _moments(values: pd.Series) -> pd.Series:
    """Moments in UTC, NaT where there is none. Fractions of a second are cut off; words without a digit ("now") are none."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return in_utc(pd.to_datetime(values, errors="coerce", utc=True))
    words = values.astype("string").str.replace(r"(:\d\d)[.,]\d+", r"\1", regex=True)
    return read_moments(words.where(words.str.contains(r"\d", na=False)), "mixed")


def read_moments(words: pd.Series, pattern: str) -> pd.Series:
    """(rows,) moments in UTC of texts of a ``pattern``, NaT where one is not of it.

    pandas reads a column in the finest unit that any of its texts asks for, and in nanoseconds far years are lost: one row
    could make missing what others say. Where it has come to that, every text is read by itself.
    """
    read = pd.to_datetime(words, errors="coerce", utc=True, format=pattern)
    if read.dt.unit != "ns" or not _UNIT_FOLLOWS:
        return in_utc(read)
    each = {
        w: pd.to_datetime(w, errors="coerce", utc=True, format=pattern).as_unit("us") for w in words.dropna().unique()
    }
    coarse = [each.get(word, pd.NaT) for word in words.astype(object)]
    return in_utc(pd.Series(coarse, words.index, dtype="datetime64[us, UTC]"))


def in_utc(moments: pd.Series) -> pd.Series:
    naive: pd.Series = moments.dt.tz_localize(None).dt.as_unit("us")
    return naive


@values_at.register(Categorical)
@values_at.register(Ordinal)
def _category_values(column: Categorical | Ordinal, index: IntArray, missing: npt.NDArray[np.bool_]) -> Any:
    if isinstance(column.categories[0], int):
        return _whole_numbers(np.array(column.categories, np.int64)[index], missing, column.nullable)
    return pd.Series(np.array(column.categories, object)[index], dtype="str").mask(missing)


@values_at.register
def _boolean_values(column: Boolean, index: IntArray, missing: npt.NDArray[np.bool_]) -> Any:
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
    return np.where(cells >= bins, column.point_indices[np.maximum(cells - bins, 0)], index) if column.points else index


@values_at.register
def _numbers(column: Continuous, index: IntArray, missing: npt.NDArray[np.bool_]) -> Any:
    if (how := written(column.format or "")) is not None:
        decimals = column.decimals + (0 if float(column.lower).is_integer() else _extra_decimals(column))
        texts = write_numbers(column.lower + index / 10**column.decimals, decimals, how)
        return pd.Series(texts, dtype="str").mask(missing)
    if column.decimals == 0 and float(column.lower).is_integer():
        return _whole_numbers(index + int(column.lower), missing, column.nullable)
    numbers = np.round(column.lower + index / 10**column.decimals, column.decimals + _extra_decimals(column))
    return pd.Series(np.where(missing, np.nan, numbers))


def _extra_decimals(column: Continuous) -> int:
    """Decimals a bound has beyond the declared ones, so that rounding keeps the grid."""
    return max(0, len(repr(float(column.lower)).partition(".")[2]) - column.decimals)


@draw_index.register
def _draw_moment(column: Datetime, cells: IntArray, rng: np.random.Generator, within: Ranges | None = None) -> IntArray:
    return rng.integers(*stretches(column, cells, within, rng), endpoint=True)


@values_at.register
def _moments_at(column: Datetime, index: IntArray, missing: npt.NDArray[np.bool_]) -> Any:
    moments = np.datetime64(column.lower, "s") + (index * SECONDS[column.resolution]).astype("timedelta64[s]")
    return pd.Series(moments).mask(missing)


def _whole_numbers(numbers: IntArray, missing: npt.NDArray[np.bool_], nullable: bool) -> pd.Series:
    """int64, or the nullable Int64 where the column may be missing."""
    return pd.Series(numbers).astype("Int64").mask(missing) if nullable else pd.Series(numbers)
