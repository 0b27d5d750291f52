"""A whole federation in one process: the deployment's own apps and custodians, on tables that are all here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium.encoding import encode, person_hashes
from cohortium.errors import FederationError, StudyError
from cohortium.privacy.ledger import Cap, Ledger, home
from cohortium.progress import Progress
from cohortium.schema import Schema
from cohortium.study import Study, study_from_document
from cohortium.tables import read_table
from cohortium_client.custodian import Custodian, Population
from cohortium_server.release import Release, load_release, write_release
from cohortium_server.rounds import Outcome
from cohortium_simulation.partition import by_column, iid


@dataclass(frozen=True)
class Ledgers:
    """Where the simulated institutions' ledgers lie, and whose privacy is spent.

    population: stays the same for the same people, whatever the table is called or however it is split; by default
    the schema's name. cap: the most the population may ever spend; None for no cap.
    """

    folder: Path = field(default_factory=lambda: home() / "ledgers")
    population: str | None = None
    cap: Cap | None = None


def simulate(
    study: Study,
    tables: Mapping[str, pd.DataFrame],
    out: str | Path = "release",
    *,
    seed: int | None = None,
    ledgers: Ledgers | None = None,
    progress: Progress | None = None,
) -> Release:
    """Run ``study`` on one table per institution and write the release into the folder ``out``.

    Each institution charges its own ledger, as in a real federation. seed: repeats initialisation and sampling; noise
    is never repeated. Raises what the study, an institution or the gate has to say.
    """
    outcome = run(study, tables, ledgers or Ledgers(), seed, progress)
    return load_release(write_release(outcome, Path(out), seed))


def run(
    study: Study,
    tables: Mapping[str, pd.DataFrame],
    ledgers: Ledgers,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """The rounds of ``study`` in this process, without a release."""
    from cohortium.neural.device import one_thread
    from cohortium_simulation.engine import run_in_process

    absent = [name for name in study.institution_names if name not in tables]
    if absent:
        raise FederationError(
            "E_MISSING_INSTITUTION", "tables", f"none for {', '.join(absent)}", "Pass a table for each institution."
        )
    _check_persons(study, tables)
    population = Population(ledgers.population or study.schema.name, ledgers.cap)
    with ExitStack() as stack:
        custodians = {}
        for name in study.institution_names:
            ledger = stack.enter_context(Ledger(ledgers.folder / f"{name}.sqlite"))
            custodians[name] = Custodian(name, study, encode(tables[name], study.schema), ledger, population)
            custodians[name].afford()  # all or none: a study that cannot be finished is not begun
        with one_thread():  # institutions answer side by side, each in a thread of its own
            return run_in_process(study, custodians, seed=seed, progress=progress)


def _check_persons(study: Study, tables: Mapping[str, pd.DataFrame]) -> None:
    """A simulation sees all tables and so can tell whether the study's g is true; a real coordinator never could."""
    if study.schema.person is None:
        return
    seen = [pd.Series(_persons(tables[name], study.schema)).drop_duplicates() for name in study.institution_names]
    if pd.concat(seen).value_counts().max() > study.privacy.institutions_per_person:
        raise StudyError(
            "E_PLAN_PRIVACY",
            "privacy.institutions_per_person",
            "some persons are in more institutions than it says, and would not be covered by the promise",
            "Raise it (--institutions-per-person).",
        )


def _persons(table: pd.DataFrame, schema: Schema) -> npt.NDArray[np.int64]:
    hashes, known = person_hashes(table, schema)
    return hashes[known]


def as_study(
    schema: Schema,
    institutions: Sequence[str],
    privacy: Mapping[str, Any],
    generator: Mapping[str, Any],
    rows: int | None = None,
    name: str = "simulation",
    purpose: str = "",
) -> Study:
    """A study from plain values, validated as one from a file would be."""
    document = {
        "study": {"name": name, "purpose": purpose},
        "privacy": dict(privacy),
        "generator": dict(generator),
        "release": {} if rows is None else {"rows": rows},
        "institution": [{"name": n} for n in institutions],
    }
    return study_from_document(document, schema)


def split(
    data: Path,
    schema: Schema,
    institutions: int | None,
    by: str | None,
    rng: np.random.Generator,
    drop_bad_rows: bool = False,
) -> dict[str, pd.DataFrame]:
    """One table per institution from a file: ``institutions`` random parts, or one for each value of column ``by``."""
    if (institutions is None) == (by is None):
        raise StudyError(
            "E_PLAN_INVALID",
            "simulate",
            "either a number of institutions or a column to split by is needed",
            "Pass --institutions K or --by COLUMN.",
        )
    wanted = list(dict.fromkeys([*schema.names, *([schema.person] if schema.person else []), *([by] if by else [])]))
    table = read_table(data, wanted, drop_bad_rows=drop_bad_rows)
    if by is not None:
        return by_column(table, by)
    return iid(table, institutions or 1, rng, schema.person)
