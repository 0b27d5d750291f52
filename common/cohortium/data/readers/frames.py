"""Tables as people have them in Python: a DataFrame of any library, a file, or columns by name.

Polars, Arrow, DuckDB and other libraries are read through Arrow's C stream or the dataframe protocol; none of them is
imported here. The values are those that a Parquet file of the same table would have.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, Union

import pandas as pd
import pyarrow as pa

from cohortium.data.readers.cells import column
from cohortium.data.readers.faults import Faults
from cohortium.errors import SchemaError
from cohortium.system.arguments import described, refused


class ArrowStream(Protocol):
    """What gives its columns by Arrow's C stream: a Polars DataFrame, a pyarrow Table, a relation of DuckDB."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


class Interchange(Protocol):
    """What gives its columns by the dataframe interchange protocol."""

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> Any: ...


Table: TypeAlias = Union[pd.DataFrame, ArrowStream, Interchange, Mapping[str, Sequence[Any]], str, os.PathLike[str]]  # noqa: UP007
"""A DataFrame of any library, the path of a file, or a mapping of columns' names to their values."""
_TAKEN = "Pass a DataFrame, a path of a file, or a mapping of columns to values."


def as_table(table: Table, where: str = "table", columns: Sequence[str] | None = None) -> pd.DataFrame:
    """``table`` as a pandas DataFrame, which is the same one where it is one.

    columns: that are wanted; of a file no others are read.
    Raises InputError E_ARGUMENT for what is no table, SchemaError E_SCHEMA_INVALID for a column of lists or records or a
    column whose name is not a text, E_SCHEMA_DUP for two of one name, and what reading a file raises.

    >>> as_table({"age": [31, None], "sex": ["f", "m"]})["sex"].tolist()
    ['f', 'm']
    >>> as_table(7)
    Traceback (most recent call last):
    ...
    cohortium.errors.InputError: E_ARGUMENT: table: it is an int, not a table. Pass a DataFrame, a path of a file, or a mapping of columns to values.
    """
    read = _read(table, where, columns)
    for name in read.columns:
        if not isinstance(name, str):
            what = f"it has a column whose name is {described(name)}, not a text"
            raise SchemaError("E_SCHEMA_INVALID", where, what, "Rename it: table.rename(columns=str).")
    if len(set(read.columns)) < len(read.columns):
        twice, _ = Counter(read.columns).most_common(1)[0]
        raise SchemaError("E_SCHEMA_DUP", where, f"column {twice!r} is there twice", "Rename or remove one of them.")
    return read


def is_table(value: object) -> bool:
    """Whether ``as_table`` has a way to read it, though it may find fault with it."""
    return isinstance(value, pd.DataFrame | str | os.PathLike) or _is_arrow(value) or hasattr(value, "__dataframe__")


def _read(table: Any, where: str, columns: Sequence[str] | None) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    if isinstance(table, str | os.PathLike):
        from cohortium.data.readers.tables import read_table

        return read_table(Path(table), columns)
    if _is_arrow(table):
        return _of_arrow(lambda: pa.table(table), where)
    if hasattr(table, "__dataframe__"):
        from pyarrow import interchange

        return _of_arrow(lambda: interchange.from_dataframe(table), where)
    if isinstance(table, Mapping):
        return _of_columns(table, where)
    raise refused(where, f"it is {described(table)}, not a table", _TAKEN)


def _is_arrow(value: object) -> bool:
    """A single column has the stream as well, and is no table."""
    single = hasattr(value, "dtype") or isinstance(value, pa.ChunkedArray | pa.Array)
    return hasattr(value, "__arrow_c_stream__") and not single


def _of_arrow(read: Any, where: str) -> pd.DataFrame:
    try:
        table: pa.Table = read()
    except (pa.ArrowException, TypeError, ValueError, NotImplementedError, RuntimeError):
        raise refused(where, "its columns cannot be read by Arrow", _TAKEN) from None
    names = table.column_names
    if len(set(names)) < len(names):
        raise SchemaError("E_SCHEMA_DUP", where, "two of its columns have one name", "Rename or remove one of them.")
    return pd.DataFrame({name: _values(table, name, where) for name in names})


def _values(table: pa.Table, name: str, where: str) -> pd.Series:
    cells = table.column(name)
    kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
    if pa.types.is_nested(kind):
        what = f"column {name!r} holds lists or records"
        raise SchemaError("E_SCHEMA_INVALID", where, what, "Flatten it into columns of single values.")
    if pa.types.is_dictionary(cells.type):
        cells = pa.chunked_array([_decoded(chunk) for chunk in cells.chunks], kind)
    whole = cells.combine_chunks()
    faults = Faults(
        where, strict=True
    )  # a cell that cannot be read is reported with its place, as in a file of one's own
    return column(whole, lambda kind, place: faults.note(kind, place + 1, name))


def _decoded(chunk: pa.DictionaryArray) -> pa.Array:
    """The values of a categorical column. Arrow takes nothing out of views, which Polars keeps its texts in."""
    kind = chunk.dictionary.type
    texts = chunk.dictionary.cast(pa.large_string()) if pa.types.is_string_view(kind) else chunk.dictionary
    return texts.take(chunk.indices).cast(kind)


def _of_columns(table: Mapping[Any, Any], where: str) -> pd.DataFrame:
    for name, values in table.items():
        if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
            what = f"column {name!r} is {described(values)}, not a list of values"
            raise refused(where, what, "Pass lists or arrays of one length: {'age': [31, 42]}.")
    if len(lengths := {len(values) for values in table.values()}) > 1:
        raise refused(where, f"its columns have {min(lengths)} to {max(lengths)} values", "Give each as many.")
    try:
        return pd.DataFrame(dict(table))
    except (ValueError, TypeError):
        raise refused(where, "its columns are not lists of single values", _TAKEN) from None


def parts_of(table: pd.DataFrame, rows: int = 1 << 16) -> Iterator[pd.DataFrame]:
    """The table in parts, at least one."""
    for start in range(0, max(1, len(table)), rows):
        yield table.iloc[start : start + rows]
