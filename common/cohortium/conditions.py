"""Conditions on a sample: columns and the values they may take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.encoding import INVALID, encode_column
from cohortium.errors import ReleaseError
from cohortium.schema import Schema

Where = Mapping[str, Any]


def allowed_cells(schema: Schema, where: Where) -> dict[int, npt.NDArray[np.bool_]]:
    """Per conditioned column the (cells,) bool array of the values allowed.

    A value may be one value or a list; None and "missing" mean missing. Raises ReleaseError E_CONDITION for a column
    or value the schema does not have.
    """
    allowed = {}
    for name, wanted in where.items():
        if name not in schema.names:
            raise ReleaseError(
                "E_CONDITION", "where", f"there is no column {name!r}", f"Columns are {', '.join(schema.names)}."
            )
        j = schema.names.index(name)
        cells = np.zeros(schema.sizes[j], bool)
        for value in wanted if isinstance(wanted, list | tuple | set | frozenset) else [wanted]:
            cells[_cell(schema, j, value)] = True
        if not cells.any():
            raise ReleaseError("E_CONDITION", f"where, column {name!r}", "no value is allowed", "Name at least one.")
        allowed[j] = cells
    return allowed


def _cell(schema: Schema, j: int, value: Any) -> int:
    column = schema.columns[j]
    if column.nullable and (value is None or value == "missing" or (isinstance(value, float) and np.isnan(value))):
        return column.values
    (cell,) = encode_column(column, pd.Series([value], dtype=object))
    if cell == INVALID:
        raise ReleaseError(
            "E_CONDITION",
            f"where, column {column.name!r}",
            f"{value!r} is not one of its values",
            "Use a value of the schema.",
        )
    return int(cell)


def parse_where(texts: list[str]) -> dict[str, list[str]]:
    """``["result=positive", "result=invalid"]`` as {"result": ["positive", "invalid"]}."""
    where: dict[str, list[str]] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise ReleaseError("E_CONDITION", "where", "a condition has no '='", "Write column=value.")
        where.setdefault(name.strip(), []).append(value.strip())
    return where
