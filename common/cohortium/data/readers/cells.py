r"""Typed cells to values that ``encoding`` reads: each on its own, and none raises.

| cell                                          | value                                                      |
|-----------------------------------------------|------------------------------------------------------------|
| text that is UTF-8, without NUL bytes         | the text                                                   |
| other text; text or bytes beyond MAX_CELL     | missing                                                    |
| bytes                                         | as text, else their hexadecimal digits behind ``\x``        |
| a whole decimal                               | a whole number, however long: it may be an identifier      |
| another decimal                               | a number of floating point                                 |
| single or half precision                      | the shortest decimal that it is: 0.1, not 0.10000000149    |
| a moment or date of the years 1 to 9999       | the moment in UTC, fractions of a microsecond cut off      |
| another one                                   | missing                                                    |
| a time of day, a duration, a UUID             | its text                                                   |
| a list or a record, from a database           | missing (a Parquet file with such a column is refused)     |
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cohortium.data.columns.values import shortest
from cohortium.data.readers.faults import LONG_CELL, MOMENT, NUL, Kind
from cohortium.data.readers.lines import MAX_CELL, unreadable

_WHOLE_DIGITS = 80  # a whole number of more digits is out of every bound and nobody's identifier
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400
_LAST = 253_402_300_799  # seconds from 1970 to the end of the year 9999
_FIRST = -62_135_596_800  # and to the beginning of the year 1
_NO_TIME = np.datetime64("NaT", "us")
Note = Callable[[Kind, int], None]  # a fault, and the place of its cell from 0


class Unreadable:
    """A database's text that cannot be read. kind: why not."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind


def text_or_why_not(data: bytes | str) -> str | Unreadable:
    """What a database calls a text, as text."""
    if isinstance(data, bytes):
        kind = unreadable(data)
        return data.decode() if kind is None else Unreadable(kind)
    if "\0" in data:
        return Unreadable(NUL)
    return data if _bytes_of(data) <= MAX_CELL else Unreadable(LONG_CELL)


def _bytes_of(text: str) -> int:
    return len(text) if 4 * len(text) <= MAX_CELL else len(text.encode(errors="replace"))


def plain(value: object) -> object:
    """A driver's value as None, a bool, an int, a float or text, as in the table above."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if text_or_why_not(value) is value else None
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return text_of_bytes(bytes(value))
    return None if isinstance(value, list | tuple | dict | set | frozenset | Unreadable) else str(value)


def number(value: Decimal) -> int | float | None:
    if value.is_snan():
        return None
    whole = value.is_finite() and value.adjusted() < _WHOLE_DIGITS and value == value.to_integral_value()
    return int(value) if whole else float(value)


def text_of_bytes(value: bytes) -> str | None:
    if len(value) > MAX_CELL:
        return None
    return value.decode() if unreadable(value) is None else "\\x" + value.hex()


# Columns of Parquet


def column(array: pa.Array, note: Note) -> pd.Series:
    """One column's cells as values."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if isinstance(array, pa.ExtensionArray):
        return _extended(array, note)
    kind = array.type
    if is_text(kind):
        return _texts(array, note)
    if is_bytes(kind):
        return _objects(array, text_of_bytes)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _moments(array, note)
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return _spans(array)
    if pa.types.is_decimal(kind):
        return _objects(array, number)
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        return pd.Series(shortest(array.to_numpy(zero_copy_only=False)))
    values: pd.Series = array.to_pandas(integer_object_nulls=True)  # whole numbers stay whole beside missing ones
    return values


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _extended(array: pa.ExtensionArray, note: Note) -> pd.Series:
    if array.type.extension_name == "arrow.uuid":
        return _objects(array.storage, lambda value: str(UUID(bytes=value)))
    return column(array.storage, note)


def _objects(array: pa.Array, value_of: Callable[..., object]) -> pd.Series:
    return pd.Series([None if v is None else value_of(v) for v in array.to_pylist()], dtype=object)


def _texts(array: pa.Array, note: Note) -> pd.Series:
    data = array.cast(pa.large_binary())
    if not _all_readable(data):
        data = pa.array([_noted(v, note, place) for place, v in enumerate(data.to_pylist())], pa.large_binary())
    texts: pd.Series = data.cast(pa.large_string()).to_pandas()
    return texts


def _all_readable(data: pa.Array) -> bool:
    if (pc.max(pc.binary_length(data)).as_py() or 0) > MAX_CELL:
        return False
    if pc.any(pc.match_substring(data, b"\0")).as_py():
        return False
    try:
        data.cast(pa.large_string())  # looks at every byte
    except pa.ArrowException:
        return False
    return True


def _noted(value: bytes | None, note: Note, place: int) -> bytes | None:
    if value is None or (kind := unreadable(value)) is None:
        return value
    note(kind, place)
    return None


def _moments(array: pa.Array, note: Note) -> pd.Series:
    numbers, missing, per_second = _counted(array)
    if per_second == 0:  # days
        numbers, per_second = numbers * _DAY, 1
    outside = ~missing & ~_within_years(numbers, per_second)
    for place in np.flatnonzero(outside):
        note(MOMENT, int(place))
    numbers = np.where(outside | missing, 0, numbers)
    micros = numbers // 1000 if per_second == 10**9 else numbers * (10**6 // per_second)
    return pd.Series(np.where(outside | missing, _NO_TIME, micros.view("datetime64[us]")))


def _within_years(numbers: npt.NDArray[np.int64], per_second: int) -> npt.NDArray[np.bool_]:
    if per_second == 10**9:  # all of them are
        return np.ones(len(numbers), bool)
    return (numbers >= _FIRST * per_second) & (numbers < (_LAST + 1) * per_second)


def _counted(array: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], int]:
    """(rows,) the stored numbers, 0 where missing; where that is; and how many are a second, 0 for days."""
    kind, missing = array.type, array.is_null().to_numpy(zero_copy_only=False)
    narrow = pa.types.is_date32(kind) or pa.types.is_time32(kind)
    stored = array.view(pa.int32() if narrow else pa.int64()).cast(pa.int64())
    numbers = pc.fill_null(stored, 0).to_numpy(zero_copy_only=False)
    if pa.types.is_date(kind):
        return numbers, missing, 0 if narrow else 1000
    return numbers, missing, _PER_SECOND[kind.unit]


def _spans(array: pa.Array) -> pd.Series:
    """Times of day and durations as text; missing where there is none of the kind."""
    numbers, missing, per_second = _counted(array)
    text = _duration if pa.types.is_duration(array.type) else _time_of_day
    distinct, places = np.unique(numbers, return_inverse=True)
    words = np.array([*(text(int(n), per_second) for n in distinct), None], dtype=object)
    return pd.Series(words[np.where(missing, len(distinct), places)], dtype=object)


def _time_of_day(number: int, per_second: int) -> str | None:
    if not 0 <= number < _DAY * per_second:
        return None
    return str((datetime.min + timedelta(microseconds=number * 10**6 // per_second)).time())


def _duration(number: int, per_second: int) -> str | None:
    try:
        return str(timedelta(microseconds=number * 10**6 // per_second))
    except OverflowError:
        return None
