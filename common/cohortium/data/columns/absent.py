"""Words for missing values: the usual ones, and those a schema declares.

By default the words of ``values.MISSING_WORDS`` count as missing, in any case. Where a column declares ``missing``, its own
words do, and no others: with ``missing = []`` the word NA is a value, as for Namibia. A blank cell is always missing, and a
declared category is never a word for missing.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.data.columns.values import MISSING_WORDS, normalized
from cohortium.data.columns.written import read_numbers, written

ERRORS = ("#N/A", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!")  # of spreadsheets
USUAL = ("NA", "N/A", "NaN", "null", "None", "NaT", "<NA>")
MARKS = (".", "..", "...", "-", "--", "---", "?", "??", "???", "*", "/", "x", "_")
COMMON_WORDS = ("unknown", "missing", "not available", "not applicable", "n.a.")
WORDS = (
    *COMMON_WORDS, "unk", "unkn", "not known", "not recorded", "not done", "n. a.", "n/d", "nd", "n.d.", "no data", "nil", "(null)", "#null",
    "\\n", "-nan", "1.#qnan", "1.#ind", "-1.#ind",
    "undefined", "undef", "void", "empty", "blank", "(blank)", "(empty)", "unspecified", "refused", "pending", "tbd",
    "unbekannt", "fehlt", "fehlend", "k.a.", "k. a.", "ka", "keine angabe", "leer", "inconnu", "manquant", "desconocido",
    "sconosciuto", "onbekend", "okänd", "ukjent", "brak",
)  # fmt: skip
AMONG_NUMBERS = frozenset(word.lower() for word in (*ERRORS, *USUAL, *MARKS, *WORDS))
"""Words that stand for a missing value among numbers and dates. Among texts most of them may be values."""
AMONG_TEXTS = frozenset(word.lower() for word in ERRORS)
"""Words that are never values, in addition to ``MISSING_WORDS``."""
PERHAPS = frozenset(word.lower() for word in (*MARKS, *WORDS))
"""Words that may or may not be values among texts."""


_GROUPS = (ERRORS, USUAL, MARKS, COMMON_WORDS)


def declared(shared: Sequence[str], rare: Sequence[str]) -> tuple[str, ...]:
    """The words for missing that a draft declares. shared: words that many persons have; they are named.

    rare: words that few have. Instead of such a word its whole usual group is declared, so that the draft reveals no more
    than that one of the group occurs.
    """
    few = {word.lower() for word in rare}
    beside = [word for group in _GROUPS if not few.isdisjoint(w.lower() for w in group) for word in group]
    named: dict[str, str] = {}
    for word in (*shared, *beside):
        named.setdefault(word.lower(), word)
    return tuple(named.values())


def words_of(column: Any) -> frozenset[str]:
    """The column's words for missing, trimmed and in small letters; a blank is one of them."""
    declared: Sequence[str] | None = column.missing
    return MISSING_WORDS if declared is None else frozenset({"", *map(_key, declared)})


def _key(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip().lower()


def with_blanks(column: Any, values: pd.Series) -> pd.Series:
    """The values, with None in place of every word for missing that the column itself declares."""
    if column.missing is None:
        return values
    absent = _are_among(column, values)
    if values.dtype.kind in "mMf":
        return values.mask(absent)
    return values.astype(object).mask(absent, None) if absent.any() else values  # whole numbers stay whole


def are_missing(column: Any, values: pd.Series) -> npt.NDArray[np.bool_]:
    """(rows,) whether a cell is blank or a word for missing."""
    return _are_among(column, values) | values.isna().to_numpy(bool)


def words_seen(column: Any, values: pd.Series) -> dict[str, int]:
    """The words that count as missing, as they are written, and in how many cells; blank cells are none."""
    known = words_of(column)
    counts = values[are_missing(column, values)].value_counts()
    categories = {str(c) for c in getattr(column, "categories", ())}
    return {
        text: int(n)
        for text, n in counts.items()
        if isinstance(text, str) and text not in categories and _key(text) in known - {""}
    }


def _are_among(column: Any, values: pd.Series) -> npt.NDArray[np.bool_]:
    """(rows,) whether a value is one of the column's words, or the number or moment that one of them is; asked once of each."""
    places, distinct = pd.factorize(normalized(values), use_na_sentinel=True)
    words = words_of(column)
    numbers = {float(word) for word in words if _is_number(word)}
    measured = hasattr(column, "decimals")  # where 1.0 is 1, as a text too; among codes it is another one
    found = np.array([*(_is_among(value, words, numbers, measured) for value in distinct), False], bool)
    return found[places]


def _is_among(value: object, words: frozenset[str], numbers: set[float], measured: bool) -> bool:
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return float(value) in numbers
    text = _key(str(value))
    if text in words or (text.endswith(" 00:00:00") and text[:-9] in words):
        return True
    return measured and bool(numbers) and _is_number(text) and float(text) in numbers


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def as_declared(column: Any, values: pd.Series) -> pd.Series:
    """Cells as the column's kind reads them: its words for missing blank, its numbers read as they are written."""
    values = with_blanks(column, values)
    how = written(column.format) if getattr(column, "format", None) else None
    return values if how is None else read_numbers(values, how)
