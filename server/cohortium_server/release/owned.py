"""Reads a user's own table, fills it in from a release and writes it again, from any format to any.

Parquet keeps its Arrow types. Text, as from CSV, is written to Parquet as numbers or truth values where the schema says so and every
cell of the column is exactly one; all other columns stay text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from cohortium.data.columns import Boolean, Categorical, Column, Continuous, Ordinal
from cohortium.data.readers.tables import AS_IT_IS, header, look, read_stored
from cohortium.data.schema import Schema
from cohortium_server.release.blanks import Imputed, Undeclared, fill_in
from cohortium_server.release.spelling import are_texts
from cohortium_server.release.tables import write_table

if TYPE_CHECKING:
    from cohortium.data.readers.forms import Form
    from cohortium_server.release.release import Release

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?")
MOST_DIGITS = 15  # that a floating point number distinguishes


def impute_file(
    release: Release,
    data: Path,
    out: Path,
    undeclared: str = "keep",
    seed: int | None = None,
    form: Form = AS_IT_IS,
) -> Imputed:
    """Fill the blanks of the file ``data`` and write the table to ``out``. Raises what ``fill_in``, ``look`` and ``write_table`` do."""
    look(data, [name for name in header(data, form) if name in release.schema.names], form)
    rng = np.random.default_rng(seed)
    made = fill_in(release.generator, release.schema, read_stored(data, form), rng, cast("Undeclared", undeclared))
    write_table(
        _for_parquet(made.table, release.schema) if out.suffix == ".parquet" else _for_csv(made.table), out, own=True
    )
    return made


def _for_parquet(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    typed = {name: _typed(table[name], None) for name in table.columns}
    typed.update({c.name: _typed(table[c.name], c) for c in schema.columns if c.name in table})
    return pd.DataFrame({name: typed[name] for name in table.columns}, index=table.index)


def _typed(values: pd.Series, column: Column | None) -> pd.Series:
    """Text as the column's numbers or truth values, if every cell is exactly one."""
    if not are_texts(values) or isinstance(values.dtype, pd.ArrowDtype) or getattr(column, "format", None):
        return values
    there = values.astype("str").mask(values.isna() | (values == ""))
    words = there.dropna()
    if isinstance(column, Boolean) and words.str.lower().isin(["true", "false"]).all():
        return (there.str.lower() == "true").astype("boolean").mask(there.isna())
    codes = isinstance(column, Categorical | Ordinal) and isinstance(column.categories[0], int)
    if (codes or isinstance(column, Continuous)) and words.str.fullmatch(_WHOLE).all():
        return there.astype("Int64")
    if (
        isinstance(column, Continuous)
        and words.str.fullmatch(_NUMBER).all()
        and (words.str.count("[0-9]") <= MOST_DIGITS).all()
    ):
        return there.astype("Float64")
    return there


def _for_csv(table: pd.DataFrame) -> pd.DataFrame:
    """Arrow types converted such that CSV holds their values in short form."""
    written: dict[str, pd.Series] = {}
    for name in table.columns:
        values = table[name]
        kind = values.dtype.pyarrow_dtype if isinstance(values.dtype, pd.ArrowDtype) else None
        if kind is not None and pa.types.is_floating(kind) and not pa.types.is_float64(kind):
            narrow = values.to_numpy(np.float32 if pa.types.is_float32(kind) else np.float16, na_value=np.nan)
            written[name] = pd.Series(["" if np.isnan(v) else str(v) for v in narrow], values.index)
        elif kind is not None and pa.types.is_timestamp(kind) and kind.tz is None:
            written[name] = values.astype("datetime64[us]")  # as days, where all are days
        else:
            written[name] = values
    return pd.DataFrame(written, index=table.index)
