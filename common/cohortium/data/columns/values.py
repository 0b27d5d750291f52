"""Which values are missing, which are equal, and which numbers they are: shared by cells and identifiers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "none", "nat", "<na>"})
_PLAIN_TYPES = frozenset({type(None), int, float, str})


def normalized(values: pd.Series) -> pd.Series:
    """``values`` such that equal ones mean the same: among objects, pandas takes True for 1 and cannot hash lists.

    Numbers of single and half precision become those of double precision that are written the same.
    """
    if values.dtype in (np.float16, np.float32):
        return pd.Series(shortest(values.to_numpy()), values.index)
    if values.dtype != object or set(map(type, values.to_numpy())) <= _PLAIN_TYPES:
        return values

    def plain(value: object) -> object:
        return value if isinstance(value, str | int | float) and not isinstance(value, bool) else str(value)

    return values.map(plain, na_action="ignore")


def numbers_of(values: pd.Series) -> npt.NDArray[np.float64]:
    """(rows,) numbers, NaN where a value is not a number; infinite ones stay."""
    if values.dtype.kind in "mM":  # moments are no numbers, whatever they are stored as
        return np.full(len(values), np.nan)
    if values.dtype in (np.float16, np.float32):
        return shortest(values.to_numpy())
    read = pd.to_numeric(values, errors="coerce")
    numbers: npt.NDArray[np.float64] = read.to_numpy(dtype=np.float64, na_value=np.nan)
    return numbers


def shortest(numbers: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Numbers of single or half precision as the shortest decimals that round to them: 0.1 rather than 0.10000000149."""
    distinct, at = np.unique(numbers, return_inverse=True)
    return np.asarray(distinct.astype(str).astype(np.float64)[at], np.float64)
