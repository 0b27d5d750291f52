"""A whole federation in one process: the deployment's own apps and custodians, on tables that are all here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cohortium.encoding import encode
from cohortium.errors import FederationError
from cohortium.privacy.ledger import Cap, Ledger, home
from cohortium.progress import Progress
from cohortium.study import Study
from cohortium_client.custodian import Custodian, Population
from cohortium_server.release import Release, load_release, write_release
from cohortium_server.rounds import Outcome


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


def run(study: Study, tables: Mapping[str, pd.DataFrame], ledgers: Ledgers, seed: int | None = None, progress: Progress | None = None) -> Outcome:
    """The rounds of ``study`` in this process, without a release."""
    from cohortium_simulation.engine import run_in_process

    absent = [name for name in study.institution_names if name not in tables]
    if absent:
        raise FederationError("E_MISSING_INSTITUTION", "tables", f"none for {', '.join(absent)}", "Pass a table for each institution.")
    population = Population(ledgers.population or study.schema.name, ledgers.cap)
    with ExitStack() as stack:
        custodians = {}
        for name in study.institution_names:
            ledger = stack.enter_context(Ledger(ledgers.folder / f"{name}.sqlite"))
            custodians[name] = Custodian(name, study, encode(tables[name], study.schema), ledger, population)
            custodians[name].afford()  # all or none: a study that cannot be finished is not begun
        return run_in_process(study, custodians, seed=seed, progress=progress)

