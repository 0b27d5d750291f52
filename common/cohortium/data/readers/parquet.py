"""Parquet files as rows, in their own types; cells by the rules of ``cells``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cohortium.data.readers.cells import column, is_bytes
from cohortium.data.readers.faults import Faults
from cohortium.errors import InputError, SchemaError

SUFFIXES = frozenset({".parquet", ".pq"})


def header(path: Path, file: IO[bytes]) -> list[str]:
    """The names of the columns."""
    return list(_opened(path, file).schema_arrow.names)


def bytes_columns(path: Path, file: IO[bytes]) -> list[str]:
    """The names of the columns that hold bytes."""
    return [field.name for field in _opened(path, file).schema_arrow if is_bytes(field.type)]


def require_plain(path: Path, file: IO[bytes], wanted: Sequence[str]) -> None:
    """SchemaError E_SCHEMA_INVALID where a wanted column is nested."""
    _check_plain(path, _opened(path, file), wanted)


def parts(path: Path, file: IO[bytes], wanted: Sequence[str], size: int, faults: Faults) -> Iterator[pd.DataFrame]:
    """The columns ``wanted``, ``size`` rows at once, at least one part."""
    table = _opened(path, file)
    _check_plain(path, table, wanted)
    rows = 0
    try:
        for batch in table.iter_batches(size, columns=list(wanted)):
            yield _typed(batch, wanted, rows + 1, faults)
            rows += batch.num_rows
    except (pa.ArrowException, OSError):
        raise _unreadable(path) from None
    if not rows:
        yield _typed(table.schema_arrow.empty_table(), wanted, 1, faults)


def stored(path: Path, file: IO[bytes], names: Sequence[str]) -> pd.DataFrame:
    """The whole table in its own Arrow types, to be written again. What cannot be read raises as for a strict reader."""
    opened = _opened(path, file)
    try:
        table = _without_views(opened.read(list(names)))
    except (pa.ArrowException, OSError):
        raise _unreadable(path) from None
    plain = [field.name for field in table.schema if not pa.types.is_nested(field.type)]
    _typed(table, plain, 1, Faults(path.name, strict=True))
    found: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    return found


def _opened(path: Path, file: IO[bytes]) -> pq.ParquetFile:
    """A file whose schema can be read. Types of pandas parse JSON of their own in it, and fail in ways of their own."""
    try:
        opened = pq.ParquetFile(file, buffer_size=1 << 20)
        _ = opened.schema_arrow
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, RecursionError):
        raise _unreadable(path) from None
    return opened


def _unreadable(path: Path) -> InputError:
    what, fix = "it is not a readable Parquet file", "Write it again, or name it .csv if it is CSV."
    return InputError("E_CSV_PARSE", path.name, what, fix)


def _without_views(table: pa.Table) -> pa.Table:
    """Texts and bytes as arrays of their own: pandas cannot select rows of views."""
    large = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return table.cast(pa.schema([field.with_type(large.get(field.type, field.type)) for field in table.schema]))


def _check_plain(path: Path, table: pq.ParquetFile, wanted: Sequence[str]) -> None:
    for name in wanted:
        kind = table.schema_arrow.field(name).type
        if pa.types.is_nested(kind.value_type if pa.types.is_dictionary(kind) else kind):
            what = f"column {name!r} holds lists or records"
            raise SchemaError("E_SCHEMA_INVALID", path.name, what, "Flatten it into columns of single values.")


def _typed(batch: pa.RecordBatch | pa.Table, wanted: Sequence[str], first: int, faults: Faults) -> pd.DataFrame:
    """``batch`` as values; its first row has the number ``first``."""

    def values(name: str) -> pd.Series:
        cells = batch.column(name)
        cells = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
        return column(cells, lambda kind, place: faults.note(kind, first + place, name))

    return pd.DataFrame({name: values(name) for name in wanted})
