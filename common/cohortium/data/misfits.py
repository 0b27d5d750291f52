"""Values that a column would change silently: for the institution's own screen.

A value is reported where the schema would replace it by another one, or by none, without a word: a number between two
points of the grid, an infinite number, a code that is spelt differently from a declared one, a date that reads as
another with the day first.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.columns import Categorical, Column, Continuous, Datetime, Ordinal
from cohortium.data.columns.absent import as_declared, with_blanks
from cohortium.data.columns.categories import category_key, reader
from cohortium.data.columns.moments import unclear
from cohortium.data.columns.values import normalized, numbers_of

_NOISE = 1e-13  # what sums in floating point leave
BoolArray = npt.NDArray[np.bool_]
INFINITE, BEYOND, ROUNDED = "infinite", "beyond the bounds", "between two values of its grid"
ALIKE, UNCLEAR = "like a category but for how they are written", "dates of which the day may be the month"
FIXES = {
    INFINITE: "They count as missing; without nullable = true their rows are left out.",
    BEYOND: "Widen the bounds, or declare codes among them as special values; as they are, values beyond are clipped.",
    ROUNDED: "Declare more decimals, another step or more digits; as they are, each becomes the nearest value.",
    ALIKE: "Codes are compared as text, 401 is not 401.0: write them as the schema does, or declare both.",
    UNCLEAR: 'Declare how dates are written, for example format = "%d/%m/%Y"; as they are, the month is read first.',
}


@singledispatch
def found_in(column: Column, values: pd.Series) -> dict[str, BoolArray]:
    """(rows,) of each kind above where it occurs."""
    return {}


@found_in.register
def _in_numbers(column: Continuous, values: pd.Series) -> dict[str, BoolArray]:
    numbers = numbers_of(as_declared(column, values))
    index = column.index_of(numbers)
    plain = (index >= 0) & (index < column.grid)
    beyond = plain & ((numbers < column.lower) | (numbers > column.upper))
    inside = plain & ~beyond
    kept = column.numbers_at(np.where(inside, index, 0))
    with np.errstate(invalid="ignore"):
        off = np.abs(kept - numbers) > _NOISE * column.fineness + 100 * _NOISE * np.abs(numbers)
    return {INFINITE: np.isinf(numbers), BEYOND: beyond, ROUNDED: inside & off}


@found_in.register
def _in_moments(column: Datetime, values: pd.Series) -> dict[str, BoolArray]:
    return {} if column.format else {UNCLEAR: unclear(with_blanks(column, values))}


@found_in.register(Categorical)
@found_in.register(Ordinal)
def _in_codes(column: Categorical | Ordinal, values: pd.Series) -> dict[str, BoolArray]:
    place, numbers = reader(column.categories), {_number(category_key(c)) for c in column.categories} - {None}
    numbered, distinct = pd.factorize(normalized(values), use_na_sentinel=True)
    alike = [place(v) is None and _number(category_key(v)) in numbers for v in distinct]
    return {ALIKE: np.array([*alike, False])[numbered]}


def _number(key: str) -> float | None:
    try:
        number = float(key)
    except ValueError:
        return None
    return number if np.isfinite(number) else None
