"""Blanks in somebody's table, filled in from a released model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.encoding import INVALID, index_column, table_at
from cohortium.errors import SchemaError
from cohortium.schema import Schema
from cohortium_server.generators import Generator
from cohortium_server.release.kept import completed


def imputed(generator: Generator, schema: Schema, table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """(rows, all columns of the schema) ``table`` with blanks filled in; what is there keeps its exact value."""
    strange = [str(c) for c in table.columns if c not in schema.names]
    if strange:
        raise SchemaError(
            "E_SCHEMA_MISSING", "table", f"the schema has no column {strange[0]!r}", "Leave it out, or rename it."
        )
    given = _read(schema, table)
    known = given != INVALID
    drawn = table_at(completed(generator, schema, given, rng, _values(schema)), schema).set_axis(table.index, axis=0)
    for j, name in enumerate(schema.names):
        if name in table and known[:, j].all():
            drawn[name] = table[name]
        elif name in table:
            drawn[name] = drawn[name].where(~known[:, j], table[name])
    return drawn


def _read(schema: Schema, table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """(rows, columns) grid index of every value, INVALID where there is none."""
    given = np.full((len(table), len(schema.columns)), INVALID, np.int64)
    for j, column in enumerate(schema.columns):
        if column.name in table:
            given[:, j] = index_column(column, table[column.name])
    return given


def _values(schema: Schema) -> dict[int, npt.NDArray[np.float64]]:
    """Per nullable column 1 for its cells that are values: a blank is not filled with a blank."""
    return {j: np.append(np.ones(c.values), 0.0) for j, c in enumerate(schema.columns) if c.nullable}
