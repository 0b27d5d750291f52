"""Moments in tables: read from texts, whole numbers and date types, and written in the same form.

All are in UTC, without a time zone; what cannot be read is missing (NaT), and nothing raises. A text without a declared
pattern is read as pandas does, the month first where both readings are possible: ``unclear`` finds such texts.
"""

from __future__ import annotations

import re
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.columns import patterns

_UNIT_FOLLOWS = int(pd.__version__.partition(".")[0]) >= 3  # before, every column is read in nanoseconds
_ISO = r"\d{4}-\d{2}-\d{2}(?:[T ].*)?"
_PARTS = re.compile(r"\s*(\d{1,2})([-/. ])(\d{1,2})\2(\d{4}|\d{2})(?:([T ])\d{1,2}:\d{2}(:\d{2})?)?\s*")
_MONTHS = 12
BoolArray = npt.NDArray[np.bool_]


def moments_of(values: pd.Series, pattern: str = "") -> pd.Series:
    """(rows,) moments. pattern: how texts and whole numbers are written; year-month-day is read as well.

    Fractions of a second are cut off; words without a digit ("now") are none. Where the pattern is of times of day, moments
    of every day are of one.
    """
    read = _read(values, pattern)
    return patterns.DAY + (read - read.dt.normalize()) if patterns.is_time(pattern) else read


def _read(values: pd.Series, pattern: str) -> pd.Series:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return in_utc(pd.to_datetime(values, errors="coerce", utc=True))
    words = _words(values).str.replace(r"(:\d\d)[.,]\d+", r"\1", regex=True)
    words = words.where(words.str.contains(r"\d", na=False))
    return _by_pattern(words, pattern) if pattern else read_moments(words, "mixed")


def _words(values: pd.Series) -> pd.Series:
    """Texts, of whole numbers in floating point their digits."""
    words = values.astype("string").str.strip()
    return words.str.replace(r"\.0$", "", regex=True) if values.dtype.kind == "f" else words


def _by_pattern(words: pd.Series, pattern: str) -> pd.Series:
    if patterns.is_whole(pattern):
        words = words.str.replace(r"^(\d+)\.0$", r"\1", regex=True)
        digits = words.str.fullmatch(r"\d+").fillna(False).astype(bool)
        words = words.where(~digits, words.str.zfill(patterns.width(pattern)))
    distinct = words.dropna().unique()
    read = {word: _one(word, pattern) for word in distinct}
    found = pd.Series([read.get(word) for word in words.astype(object)], words.index, dtype="datetime64[us]")
    other = words.where(found.isna() & words.str.fullmatch(_ISO).fillna(False).astype(bool))
    return found.where(other.isna(), read_moments(other, "mixed")) if other.notna().any() else found


def _one(word: str, pattern: str) -> datetime | None:
    try:
        return datetime.strptime(word, pattern)
    except ValueError:
        return None


def read_moments(words: pd.Series, pattern: str) -> pd.Series:
    """(rows,) moments in UTC of texts of a ``pattern``, NaT where one is not of it.

    pandas reads a column in the finest unit that any of its texts asks for, and in nanoseconds far years are lost: one row
    could make others' values missing. Where it has come to that, every text is read by itself.
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


def as_written(moments: npt.NDArray[np.datetime64], missing: BoolArray, pattern: str) -> pd.Series:
    """Moments (to the second) as texts of a pattern, or as whole numbers where it makes such; missing where ``missing``."""
    distinct, at = np.unique(moments, return_inverse=True)
    words = [patterns.written(moment, pattern) for moment in distinct.astype("datetime64[s]").tolist()]
    if not patterns.is_whole(pattern):
        return pd.Series(np.array(words, object)[at], dtype="str").mask(missing)
    numbers = pd.Series(np.array([int(word) for word in words], np.int64)[at])
    return numbers.astype("Int64").mask(missing) if missing.any() else numbers


# Day first, or month first


def unclear(values: pd.Series) -> BoolArray:
    """(rows,) whether a text is another date with the day first than with the month first."""
    if values.dtype.kind not in "OTSU" and str(values.dtype) not in ("str", "string"):
        return np.zeros(len(values), bool)
    numbers, distinct = pd.factorize(values.astype("string"), use_na_sentinel=True)
    found = np.array([*(first_of(str(word)) == "" for word in distinct), False])
    return np.asarray(found[numbers], bool)


def first_of(word: str) -> str | None:
    """Day or month: what comes first in a date such as 13/05/2020; empty where both readings are dates; None for other texts."""
    if not (found := _PARTS.fullmatch(word)):
        return None
    first, second = int(found[1]), int(found[3])
    if first == second <= _MONTHS or min(first, second) < 1 or min(first, second) > _MONTHS or max(first, second) > 31:
        return None
    if first > _MONTHS:
        return "day"
    return "month" if second > _MONTHS else ""


def pattern_of(word: str, first: str) -> str | None:
    """The pattern of a date such as 13/05/2020, or 13/05/2020 10:30; None for other texts."""
    found = _PARTS.fullmatch(word)
    if not found:
        return None
    year = "%Y" if len(found[4]) == 4 else "%y"
    parts = ("%d", "%m", year) if first == "day" else ("%m", "%d", year)
    time = "" if found[5] is None else f"{found[5]}%H:%M" + ("" if found[6] is None else ":%S")
    return found[2].join(parts) + time
