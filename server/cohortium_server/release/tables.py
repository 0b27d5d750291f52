"""Synthetic tables as files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cohortium.documents import parse_json
from cohortium.errors import InputError, ReleaseError
from cohortium.schema import FORMULA_STARTS


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV or Parquet file, by its suffix, whole or not at all. InputError for another suffix or no folder."""
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
            safe_for_spreadsheets(table).to_csv(partial, index=False, lineterminator="\n")
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    finally:
        Path(partial).unlink(missing_ok=True)


def read_released(path: Path) -> pd.DataFrame:
    """A Parquet file that ``write_table`` wrote; ReleaseError E_RELEASE_TOUCHED for another."""
    try:
        told = pq.read_metadata(path).metadata or {}
        parse_json(told.get(b"pandas", b"{}"))  # which pandas believes, nested as it may be
        return pd.read_parquet(path)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, RecursionError):
        what, fix = "it is not a table as releases hold them", "Get the release again from who made it."
        raise ReleaseError("E_RELEASE_TOUCHED", path.name, what, fix) from None


def safe_for_spreadsheets(table: pd.DataFrame) -> pd.DataFrame:
    """Text that a spreadsheet would run as a formula gets an apostrophe in front; numbers stay (OWASP ASVS 1.2.10)."""
    text = [c for c in table.columns if table[c].dtype == object or isinstance(table[c].dtype, pd.StringDtype)]
    return table.assign(**{c: table[c].map(_defused, na_action="ignore") for c in text})


def _defused(value: object) -> object:
    return "'" + value if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
