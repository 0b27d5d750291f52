"""Blanks in somebody's table, filled in from a released model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.encoding import INVALID, decode, encode_column
from cohortium.errors import SchemaError
from cohortium.schema import Schema
from cohortium_server.generators import Generator


def imputed(generator: Generator, schema: Schema, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """(rows, all columns of the schema) ``table`` with blanks filled in; what is there keeps its exact value."""
    strange = [str(c) for c in table.columns if c not in schema.names]
    if strange:
        raise SchemaError(
            "E_SCHEMA_MISSING", "table", f"the schema has no column {strange[0]!r}", "Leave it out, or rename it."
        )
    codes, known = _read(schema, table)
    filled = generator.complete(codes, known, rng, _values(schema)) if len(table) else codes
    drawn = decode(filled, schema, rng).set_axis(table.index, axis=0)
    for j, name in enumerate(schema.names):
        if name in table and known[:, j].all():
            drawn[name] = table[name]
        elif name in table:
            drawn[name] = drawn[name].where(~known[:, j], table[name])
    return drawn


def _read(schema: Schema, table: pd.DataFrame) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
    """(rows, columns) cells, 0 where blank, and where there is a value."""
    cells = np.full((len(table), len(schema.columns)), INVALID, np.int64)
    for j, column in enumerate(schema.columns):
        if column.name in table:
            cells[:, j] = encode_column(column, table[column.name])
    known = cells != INVALID
    return np.where(known, cells, 0).astype(np.int16), known


def _values(schema: Schema) -> dict[int, npt.NDArray[np.float64]]:
    """Per nullable column 1 for its cells that are values: a blank is not filled with a blank."""
    return {j: np.append(np.ones(c.values), 0.0) for j, c in enumerate(schema.columns) if c.nullable}
