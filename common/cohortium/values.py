"""What is missing, and which values are the same: asked of cells and of identifiers."""

from __future__ import annotations

import pandas as pd

MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "none", "nat", "<na>"})
_TOLD_APART = frozenset({type(None), int, float, str})


def told_apart(values: pd.Series) -> pd.Series:
    """``values`` such that equal ones mean the same: among objects, pandas takes True for 1, and no lists."""
    if values.dtype != object or set(map(type, values.to_numpy())) <= _TOLD_APART:
        return values

    def plain(value: object) -> object:
        return value if isinstance(value, str | int | float) and not isinstance(value, bool) else str(value)

    return values.map(plain, na_action="ignore")
