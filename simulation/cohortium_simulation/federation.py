"""A federation as a folder, which Flower's engines and every institution read.

It holds ``study.toml``, ``schema.toml`` and, in ``institutions/<name>``, ``institution.toml`` and
``table.parquet``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from cohortium.encoding import check_columns
from cohortium.errors import InputError, ReleaseError, StudyError
from cohortium.privacy.ledger import Cap
from cohortium.schema import Schema
from cohortium.study import Study, dumps_schema, dumps_study
from cohortium_client.institution import InstitutionFile, PopulationFile, Source, dumps_institution

TABLE = "table.parquet"


def write_federation(
    folder: Path, study: Study, tables: Mapping[str, pd.DataFrame], caps: Mapping[str, Cap] | None = None
) -> Path:
    """Write the folder, all or nothing; it must not exist yet, or be empty.

    tables: one for each of the study's institutions, by name; only the schema's columns are written.
    caps: the most an institution's population may ever spend, by name; for others, what the study promises, once.
    """
    _check(study, tables)
    if folder.exists() and any(folder.iterdir()):
        raise ReleaseError("E_RELEASE_EXISTS", folder.name, "the folder is not empty", "Name another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))  # nobody else's to read
    try:
        (partial / "study.toml").write_text(dumps_study(study), encoding="utf-8")
        (partial / "schema.toml").write_text(dumps_schema(study.schema), encoding="utf-8")
        for name, table in tables.items():
            place = partial / "institutions" / name
            place.mkdir(parents=True)
            _write_table(place / TABLE, name, table[_columns(study.schema)])
            text = dumps_institution(_institution(name, (caps or {}).get(name)))
            (place / "institution.toml").write_text(text, encoding="utf-8")
        return partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _check(study: Study, tables: Mapping[str, pd.DataFrame]) -> None:
    if missing := [name for name in study.institution_names if name not in tables]:
        raise StudyError("E_MISSING_INSTITUTION", "tables", f"none is for {', '.join(missing)}", "Add it.")
    if others := [name for name in tables if name not in study.institution_names]:
        raise StudyError("E_NOT_IN_STUDY", "tables", f"the study has no {', '.join(others)}", "Leave it out.")
    for table in tables.values():
        check_columns(table.columns, study.schema)


def _columns(schema: Schema) -> list[str]:
    return list(dict.fromkeys([*schema.names, *([schema.person] if schema.person else [])]))


def _institution(name: str, cap: Cap | None) -> InstitutionFile:
    population = PopulationFile(name=name, **({} if cap is None else asdict(cap)))
    return InstitutionFile(name=name, source=Source(path=TABLE), population=population)


def _write_table(path: Path, name: str, table: pd.DataFrame) -> None:
    try:
        table.to_parquet(path, index=False)
    except (ValueError, TypeError):  # Arrow's errors are ValueErrors and TypeErrors, and quote the cell
        what = "a column holds values of several types"
        raise InputError("E_CSV_PARSE", f"table of {name}", what, "Convert it to text or to numbers.") from None
