"""Writes values into a column in its own form: in its dtype and, where it holds text, in its spelling.

In a column of text, the spelling of most cells decides how a truth value, a day or a number is written. If the dtype cannot hold
a value, it is widened: to another number type, finally to text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_integer_dtype, is_numeric_dtype, is_object_dtype

from cohortium.data.columns import Boolean, Categorical, Column, Continuous, Datetime, Ordinal
from cohortium.data.columns.encoding import INVALID, index_column, values_at
from cohortium.data.readers.cells import is_text

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
LOOKED_AT = 500  # distinct texts from which a spelling is inferred
TRUTHS = (("false", "true"), ("no", "yes"), ("f", "t"), ("n", "y"), ("0", "1"), ("0.0", "1.0"))
_CASES: tuple[Callable[[str], str], ...] = (str.lower, str.upper, str.title)
_DAYS = ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%Y.%m.%d", "%Y%m%d")
_TIMES = (
    "",
    " %H:%M:%S",
    "T%H:%M:%S",
    "T%H:%M:%SZ",
    " %H:%M",
    "T%H:%M",
    "T%H:%MZ",
    " %H:%M:%S+00:00",
    "T%H:%M:%S+00:00",
)
PATTERNS = tuple(day + time for time in _TIMES for day in _DAYS)


def filled(column: Column, raw: pd.Series, given: IntArray, index: IntArray, where: BoolArray) -> pd.Series:
    """``raw`` with the values at grid ``index`` in the cells ``where``; all others are as they were.

    given: (rows,) grid index of every existing value, INVALID where there is none.
    """
    if not where.any():
        return raw
    if _says_nothing(raw):
        drawn: pd.Series = values_at(column, np.where(where, index, 0), ~where).set_axis(raw.index)
        return drawn
    cells = _cells(column, raw, index[where])
    if are_texts(raw):
        known = given != INVALID
        cells = _spelt(column, raw[known].astype(object).tolist(), given[known], cells, index[where])
    elif isinstance(column, Categorical | Ordinal | Boolean):
        cells = _as_seen(raw, given, cells, index[where])
    return _in_arrow(raw, where, cells) if isinstance(raw.dtype, pd.ArrowDtype) else _in_pandas(raw, where, cells)


def _cells(column: Column, raw: pd.Series, index: IntArray) -> list[Any]:
    """The values at grid ``index``: as the schema writes them where the column holds text, otherwise in their own type."""
    if isinstance(column, Boolean):
        return [bool(i) for i in index]
    if isinstance(column, Continuous) and column.format and not are_texts(raw):
        column = replace(column, format=Continuous.format)
    whole = is_numeric_dtype(raw.dtype)  # 20200131 is a number, and written so
    if isinstance(column, Datetime) and column.format and not (are_texts(raw) or whole):
        column = replace(column, format=Datetime.format)
    return list(values_at(column, index, np.zeros(len(index), bool)).astype(object))


def are_texts(values: pd.Series) -> bool:
    """Whether the column holds text, possibly among other types."""
    kind = values.dtype
    if isinstance(kind, pd.ArrowDtype):
        stored = kind.pyarrow_dtype
        return is_text(stored.value_type if pa.types.is_dictionary(stored) else stored)
    if isinstance(kind, pd.CategoricalDtype):
        return any(isinstance(c, str) for c in kind.categories)
    return isinstance(kind, pd.StringDtype) or (is_object_dtype(kind) and any(isinstance(v, str) for v in values))


def _says_nothing(raw: pd.Series) -> bool:
    """Whether neither a value nor the dtype shows the column's type: all of it is missing, as numbers or as objects."""
    if isinstance(raw.dtype, pd.ArrowDtype):
        return bool(pa.types.is_null(raw.dtype.pyarrow_dtype))
    return (is_object_dtype(raw.dtype) or raw.dtype.kind == "f") and bool(raw.isna().all())


def are_absent(values: pd.Series) -> BoolArray:
    """(rows,) where a cell has no value. In a column of an Arrow dtype pandas counts NaN as a value."""
    absent = as_arrow(values).is_null(nan_is_null=True) if isinstance(values.dtype, pd.ArrowDtype) else values.isna()
    return np.asarray(absent, bool)


def as_arrow(values: pd.Series) -> pa.Array:
    """A column of an Arrow dtype as one array."""
    array = pa.array(values.array)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


# Text


def _spelt(column: Column, texts: list[Any], given: IntArray, cells: list[Any], index: IntArray) -> list[str]:
    """The values ``cells`` at grid ``index`` in the column's spelling: it has ``texts`` for the values ``given``."""
    seen = Counter(zip(map(str, texts), given.tolist(), strict=True))
    known = dict(seen.most_common(LOOKED_AT))
    if isinstance(column, Datetime):
        pattern = _pattern(column, known)
        return [_moment(v, pattern) if isinstance(v, datetime) else str(v) for v in cells]
    if isinstance(column, Boolean):
        words = _truths(known)
        return [words[v] for v in cells]
    number = _number_writer([text.strip() for text, _ in known])
    if isinstance(column, Continuous):
        return [v if isinstance(v, str) else number(v) for v in cells]
    usual = _usual(known)
    return [usual.get(i, v if isinstance(v, str) else number(v)) for i, v in zip(index.tolist(), cells, strict=True)]


def _usual(known: dict[tuple[str, int], int]) -> dict[int, str]:
    """The most common text of every value that the column has."""
    best: dict[int, str] = {}
    for text, index in sorted(known, key=lambda pair: -known[pair]):
        best.setdefault(index, text)
    return best


def _truths(known: dict[tuple[str, int], int]) -> tuple[str, str]:
    """How the column writes false and true: the pair and the letter case of most of its cells."""
    ways: Counter[tuple[str, str]] = Counter()
    for (text, truth), count in known.items():
        same = {(case(a), case(b)) for a, b in TRUTHS for case in _CASES if case((a, b)[truth]) == text.strip()}
        ways.update(dict.fromkeys(same, count))
    return ways.most_common(1)[0][0] if ways else ("False", "True")


def _number_writer(texts: Sequence[str]) -> Callable[[Any], str]:
    """A writer of numbers with as many decimals as all of ``texts`` have; without a point where whole numbers have none."""
    after = {len(text.partition(".")[2]) for text in texts}
    same = after.pop() if len(after) == 1 else None
    pointless = not texts or any("." not in text for text in texts)

    def write(value: Any) -> str:
        number = float(value)
        if same and round(number, same) == number:
            return f"{number:.{same}f}"
        if number.is_integer() and (pointless or isinstance(value, int)):
            return str(int(number))
        return repr(number)

    return write


def _pattern(column: Datetime, known: dict[tuple[str, int], int]) -> str:
    """How the column writes moments: the pattern that reproduces most of its texts."""
    texts = pd.Series([text.strip() for text, _ in known], dtype="str")
    index, counts = np.array([i for _, i in known], np.int64), np.array(list(known.values()), np.int64)

    def agreement(pattern: str) -> tuple[int, int]:
        read = pd.to_datetime(texts, format=pattern, errors="coerce")
        same = (index_column(column, read) == index) & (index != INVALID)
        exact = same & (read.dt.strftime(pattern) == texts).to_numpy(bool)  # leading zeros, too
        return int(counts[same].sum()), int(counts[exact].sum())

    best = max(PATTERNS, key=agreement)
    if agreement(best)[0]:
        return best
    return "%Y-%m-%d" if column.resolution == "day" else "%Y-%m-%d %H:%M:%S"


def _moment(value: Any, pattern: str) -> str:
    year = f"{value.year:04}"  # which some systems write without leading zeros
    return str(value.strftime(pattern.replace("%Y", year)))


# Other dtypes


def _as_seen(raw: pd.Series, given: IntArray, cells: list[Any], index: IntArray) -> list[Any]:
    """Categories in the column's own form: a value that occurs in the column is written as it occurs."""
    distinct, places = np.unique(given, return_index=True)
    seen = {int(i): raw.iloc[int(place)] for i, place in zip(distinct, places, strict=True) if i != INVALID}
    return [seen.get(i, v) for i, v in zip(index.tolist(), cells, strict=True)]


def _in_arrow(raw: pd.Series, where: BoolArray, cells: list[Any]) -> pd.Series:
    array = as_arrow(raw)
    stored = array.type
    if pa.types.is_dictionary(stored):
        array = array.dictionary_decode()
    for kind in (array.type, *_wider(array.type)):
        try:
            both = pa.concat_arrays([_cast(array, kind), _arrow_of(cells, kind)])
        except (pa.ArrowException, ValueError, TypeError, OverflowError, InvalidOperation):
            continue
        places = np.arange(len(raw))
        places[where] = len(raw) + np.arange(len(cells))
        taken = both.take(pa.array(places))
        if pa.types.is_dictionary(stored) and kind == stored.value_type:
            taken = taken.dictionary_encode().cast(stored)
        return pd.Series(pd.arrays.ArrowExtensionArray(taken), raw.index, name=raw.name)
    raise TypeError(f"nothing is as wide as text: {stored}")


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The values in a wider type; values that become text are written as Python writes them."""
    if not is_text(kind) or is_text(array.type):
        return array.cast(kind)
    narrow = pa.types.is_floating(array.type) and not pa.types.is_float64(array.type)
    return pa.array([None if v is None else str(np.float32(v) if narrow else v) for v in array.to_pylist()], kind)


def _wider(kind: pa.DataType) -> tuple[pa.DataType, ...]:
    """Types that also hold what ``kind`` holds, the nearest first."""
    if pa.types.is_integer(kind):
        return pa.int64(), pa.float64(), pa.string()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz), pa.string()
    if pa.types.is_decimal(kind):
        return pa.decimal128(38, kind.scale), pa.float64(), pa.string()
    return (pa.string(),)


def _arrow_of(cells: list[Any], kind: pa.DataType) -> pa.Array:
    """The values in an Arrow type; an ArrowException or ValueError where it cannot hold one."""
    types = pa.types
    if types.is_timestamp(kind):
        zone = None if kind.tz is None else "UTC"
        return pa.array([_instant(v) for v in cells], pa.timestamp("us", zone)).cast(kind)
    if types.is_date(kind):
        return pa.array([_instant(v).date() for v in cells], kind)
    if types.is_decimal(kind):
        least = Decimal(1).scaleb(-kind.scale)
        return pa.array([Decimal(str(v)).quantize(least) for v in cells], kind)
    if types.is_floating(kind):
        return pa.array([float(v) for v in cells], pa.float64()).cast(kind, safe=False)
    if types.is_integer(kind):
        return pa.array([_exact_int(v) for v in cells], pa.int64()).cast(kind)
    if types.is_boolean(kind):
        return pa.array([bool(v) for v in cells], kind)
    return pa.array([v if isinstance(v, str) or not is_text(kind) else str(v) for v in cells], kind)


def _instant(value: Any) -> datetime:
    return pd.Timestamp(value).to_pydatetime()


def _exact_int(value: Any) -> int:
    """The whole number; ValueError for anything else."""
    number = int(value)
    if not isinstance(value, str) and number != value:
        raise ValueError("no whole number")
    return number


def _in_pandas(raw: pd.Series, where: BoolArray, cells: list[Any]) -> pd.Series:
    result = raw.copy()
    if isinstance(raw.dtype, pd.CategoricalDtype):
        new = [v for v in dict.fromkeys(cells) if v not in raw.cat.categories]
        result = result.cat.add_categories(new)
    try:
        put = _pandas_of(cells, raw)
    except (ValueError, TypeError, OverflowError, InvalidOperation):
        result, put = _widened(result, cells)
    result.iloc[np.flatnonzero(where)] = put
    return result


def _pandas_of(cells: list[Any], raw: pd.Series) -> Any:
    """The values in a form that a column of the dtype accepts; a ValueError or TypeError where it cannot."""
    kind = raw.dtype
    if is_object_dtype(kind):
        types = set(map(type, raw.dropna()))
        return np.array([_of_types(v, types) for v in cells] + [None], object)[:-1]
    if isinstance(kind, pd.DatetimeTZDtype):
        return pd.Series(
            pd.to_datetime(pd.Series(cells)).dt.tz_localize("UTC").dt.tz_convert(kind.tz).astype(kind)
        ).array
    if isinstance(kind, np.dtype) and kind.kind == "M":
        return pd.to_datetime(pd.Series(cells)).astype(kind).to_numpy()
    if is_integer_dtype(kind):
        return pd.array([_exact_int(v) for v in cells], dtype="int64").astype(kind)
    if isinstance(kind, pd.CategoricalDtype):
        return cells
    return pd.Series(cells, dtype=kind).array


def _of_types(value: Any, types: set[type]) -> Any:
    """A value as one of the types that an object column holds."""
    if types == {bool}:
        return bool(value)
    if types == {int}:
        return _exact_int(value)
    if types == {Decimal}:
        return Decimal(str(value))
    if types == {date}:
        return _instant(value).date()
    return _instant(value) if types == {datetime} else value


def _widened(result: pd.Series, cells: list[Any]) -> tuple[pd.Series, Any]:
    """A column of a dtype that holds everything, and the values to put there: numbers, otherwise objects."""
    if is_numeric_dtype(result.dtype) and all(isinstance(v, int | float) for v in cells):
        return result.astype("float64" if isinstance(result.dtype, np.dtype) else "Float64"), [float(v) for v in cells]
    return result.astype(object), np.array([*cells, None], object)[:-1]
