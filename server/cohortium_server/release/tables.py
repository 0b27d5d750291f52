"""Synthetic tables as files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cohortium.errors import InputError, ReleaseError
from cohortium.system.documents import parse_json
from cohortium.system.texts import for_spreadsheet


def write_table(table: pd.DataFrame, path: Path, *, own: bool = False) -> None:
    """Write a CSV or Parquet file, by its suffix, whole or not at all. InputError for another suffix or no folder.

    own: a table of whoever writes it, whose texts are not touched.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(
            "E_INPUT_NOT_FOUND", path.name, "the file's name ends neither in .csv nor in .parquet", "Rename it."
        )
    if not path.parent.is_dir():
        raise InputError("E_INPUT_NOT_FOUND", path.name, "its folder does not exist", "Make the folder first.")
    handle, partial = tempfile.mkstemp(suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        if path.suffix == ".parquet":
            table.to_parquet(partial, index=False)
        else:
            (table if own else safe_for_spreadsheets(table)).to_csv(partial, index=False, lineterminator="\n")
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    finally:
        Path(partial).unlink(missing_ok=True)


def write_tables(tables: Mapping[str, pd.DataFrame], out: Path) -> None:
    """Write a CSV and a Parquet file a table into the new folder ``out``, all or none.

    ReleaseError E_RELEASE_EXISTS where it is there already, InputError where its own folder is not.
    """
    if out.exists():
        raise ReleaseError("E_RELEASE_EXISTS", out.name, "the folder is there already", "Choose another name.")
    if not out.parent.is_dir():
        raise InputError("E_INPUT_NOT_FOUND", out.name, "its folder does not exist", "Make the folder first.")
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        for name, table in tables.items():
            for suffix in (".csv", ".parquet"):
                write_table(table, partial / f"{name}{suffix}")
        partial.chmod(0o755)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_released(path: Path) -> pd.DataFrame:
    """A Parquet file that ``write_table`` wrote; ReleaseError E_RELEASE_TOUCHED for another."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
        parse_json(metadata.get(b"pandas", b"{}"))  # which pandas believes, nested as it may be
        return pd.read_parquet(path)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, RecursionError):
        what, fix = "it is not a table as releases hold them", "Get the release again from who made it."
        raise ReleaseError("E_RELEASE_TOUCHED", path.name, what, fix) from None


def safe_for_spreadsheets(table: pd.DataFrame) -> pd.DataFrame:
    """Text that a spreadsheet would run as a formula gets an apostrophe in front, headings too; numbers stay (OWASP ASVS 1.2.10)."""
    text = [j for j in range(table.shape[1]) if not _is_plain(table.dtypes.iloc[j])]
    safe = table.copy(deep=False)
    for j in text:
        safe.isetitem(j, _defused(table.iloc[:, j]))
    return safe.set_axis([for_spreadsheet(str(name)) for name in table.columns], axis=1)


def _is_plain(kind: Any) -> bool:
    """Whether values of a type are numbers, truths or moments, and no text."""
    types = pd.api.types
    return bool(types.is_numeric_dtype(kind) or types.is_bool_dtype(kind) or types.is_datetime64_any_dtype(kind))


def _defused(values: pd.Series) -> npt.NDArray[np.object_]:
    """The column as objects, each different text looked at once."""
    known = {text: for_spreadsheet(text) for text in values.dropna().unique() if isinstance(text, str)}
    safe = [known.get(value, value) if isinstance(value, str) else value for value in values]
    return pd.Series(safe, dtype=object).to_numpy()
