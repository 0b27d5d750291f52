"""A federation as a folder, which Flower's engines and every institution read.

It holds ``study.toml`` with everybody's signatures, ``schema.toml`` and, in ``institutions/<name>``, an institution's
folder with its ``table.parquet``, and those of events in ``tables``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from cohortium.data.encoding import check_columns
from cohortium.data.events import PERSONS
from cohortium.data.schema import Schema
from cohortium.errors import InputError, ReleaseError, StudyError
from cohortium.ledger.caps import Cap
from cohortium.study.consent import write_signature
from cohortium.study.study import Study, dumps_schema, dumps_study
from cohortium_client.custodian.agreements import agree
from cohortium_client.custodian.institution import Institution, init_institution
from cohortium_simulation.experiment import require_file_names, sign_all
from cohortium_simulation.holdings import Held, parts_of, wanted_of

TABLE = "table.parquet"
EVENTS = "tables"  # the folder of tables of events


def write_federation(
    folder: Path, study: Study, tables: Mapping[str, Held], caps: Mapping[str, Cap] | None = None
) -> Path:
    """Write the folder, all or nothing; it must not exist yet, or be empty.

    tables: of each of the study's institutions, by name, as ``simulate`` takes them; only the schema's columns are written.
    caps: the most an institution's population may ever spend, by name; for others, what the study promises, once.
    """
    _check(study, tables)
    if folder.exists() and any(folder.iterdir()):
        raise _taken(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))  # nobody else's to read
    try:
        members = [_found(partial, study, name, table, (caps or {}).get(name)) for name, table in tables.items()]
        _sign(partial, study, members)
        return _named(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _named(partial: Path, folder: Path) -> Path:
    with suppress(OSError):
        folder.rmdir()  # an empty one is as good as none, but not on every system
    try:
        return partial.rename(folder)
    except OSError:
        if folder.exists():  # by now
            raise _taken(folder) from None
        raise


def _taken(folder: Path) -> ReleaseError:
    return ReleaseError("E_RELEASE_EXISTS", folder.name, "the folder is not empty", "Name another folder.")


def _found(folder: Path, study: Study, name: str, held: Held, cap: Cap | None) -> Institution:
    """An institution's folder with its tables."""
    place = folder / "institutions" / name
    place.mkdir(parents=True)
    source = _write_tables(place, name, held, study.schema)
    cap = cap or Cap(study.privacy.epsilon, study.privacy.delta)
    policy = {"epsilon_per_population": cap.epsilon, "delta": cap.delta, "repeatable": True}
    return init_institution(place, name, source, name, policy)


def _write_tables(place: Path, name: str, held: Held, schema: Schema) -> dict[str, Any]:
    """Write an institution's tables; returns the section [source] that names them."""
    source: dict[str, Any] = {}
    for part, table in parts_of(held, name, schema).items():
        path = TABLE if part == PERSONS else f"{EVENTS}/{part}.parquet"
        (place / path).parent.mkdir(exist_ok=True)
        _write_table(place / path, name, table[wanted_of(schema.parts[part])])
        (source if part == PERSONS else source.setdefault("tables", {}).setdefault(part, {}))["path"] = path
    return source


def _sign(folder: Path, study: Study, members: Sequence[Institution]) -> None:
    """The study with everybody's keys and signatures; the consent is in everybody's ledger."""
    signed, signatures = sign_all(study, [m.identity for m in members])
    (folder / "study.toml").write_text(dumps_study(signed), encoding="utf-8", newline="\n")
    (folder / "schema.toml").write_text(dumps_schema(signed.schema), encoding="utf-8", newline="\n")
    for member in members:
        write_signature(folder / "study.toml", signed, member.identity.name, signatures[member.identity.name])
        with member.ledger() as ledger:
            agree(signed, member.identity, member.policy, ledger, member.agreements)


def _check(study: Study, tables: Mapping[str, Held]) -> None:
    if missing := [name for name in study.institution_names if name not in tables]:
        raise StudyError("E_MISSING_INSTITUTION", "tables", f"none is for {', '.join(missing)}", "Add it.")
    if others := [name for name in tables if name not in study.institution_names]:
        raise StudyError("E_NOT_IN_STUDY", "tables", f"the study has no {', '.join(others)}", "Leave it out.")
    require_file_names(study)
    for name, held in tables.items():
        for part, table in parts_of(held, name, study.schema).items():
            check_columns(table.columns, study.schema.parts[part])


def _write_table(path: Path, name: str, table: pd.DataFrame) -> None:
    try:
        table.to_parquet(path, index=False)
    except (ValueError, TypeError):  # Arrow's errors are ValueErrors and TypeErrors, and quote the cell
        what = "a column holds values of several types"
        raise InputError("E_CSV_PARSE", f"table of {name}", what, "Convert it to text or to numbers.") from None
