"""A whole federation in one process: the deployment's own apps and custodians, on tables that are all here."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cohortium import consent
from cohortium.encoding import Codes, encode, person_hashes
from cohortium.errors import FederationError, StudyError
from cohortium.keys import load_or_create_key
from cohortium.privacy.ledger import Cap, Consent, Ledger, home
from cohortium.progress import Progress
from cohortium.schema import Schema
from cohortium.study import Study, as_written, study_from_document
from cohortium.tables import read_table
from cohortium_client.custodian import Custodian, Holding, Identity, agreed_to
from cohortium_client.policy import Policy
from cohortium_client.sessions import Sessions
from cohortium_server.journal import BriefJournal
from cohortium_server.release import Release, load_release, write_release
from cohortium_server.rounds import Outcome
from cohortium_simulation.partition import by_column, iid, skewed


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

    A study without privacy (``Privacy(mode="none")``) has no institutions to ask and nothing to charge: its generator is
    fitted to the tables as they are, and every file in ``out`` says so (unprotected.py).
    """
    if study.privacy.mode == "none":
        return _simulate_unprotected(study, tables, Path(out), seed, ledgers, progress)
    outcome = run(study, tables, ledgers or Ledgers(), seed, progress)
    return load_release(write_release(outcome, Path(out), seed))


def _simulate_unprotected(
    study: Study,
    tables: Mapping[str, pd.DataFrame],
    out: Path,
    seed: int | None,
    ledgers: Ledgers | None,
    progress: Progress | None,
) -> Release:
    from cohortium_server.release.unprotected import require_free_of_releases, write_unprotected
    from cohortium_simulation.unprotected import fit_unprotected

    if ledgers is not None:
        raise StudyError(
            "E_PLAN_PRIVACY", "ledgers", "without privacy nothing is charged, and no cap holds", "Leave them out."
        )
    _check_complete(study, tables)
    require_free_of_releases(out)
    study = as_written(study)
    codes = {name: encode(tables[name], study.schema) for name in study.institution_names}
    outcome = fit_unprotected(study, codes, seed, progress)
    return load_release(write_unprotected(outcome, out, seed), not_private=True)


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

    consent.require_privacy(study)
    _check_complete(study, tables)
    _check_persons(study, tables)
    with ExitStack() as stack:
        opened = {n: stack.enter_context(Ledger(ledgers.folder / f"{n}.sqlite")) for n in study.institution_names}
        institutions = [Simulated(n, opened[n], ledgers.population or study.schema.name, ledgers.cap) for n in opened]
        signed, consents = sign_all(study, [i.identity for i in institutions])
        custodians = {i.name: i.custodian(signed, encode(tables[i.name], signed.schema)) for i in institutions}
        for custodian in custodians.values():  # all or none: a study that cannot be finished is not begun
            custodian.afford(signed)
        for institution in institutions:
            institution.agree(signed)
        with one_thread():  # institutions answer side by side, each in a thread of its own
            return run_in_process(signed, consents, custodians, BriefJournal(seed), progress)


@dataclass(frozen=True)
class Simulated:
    """An institution of a simulation: whatever is asked of it, it signs. Its key lies beside its ledger."""

    name: str
    ledger: Ledger
    population: str
    cap: Cap | None = None

    @property
    def identity(self) -> Identity:
        return Identity(self.name, load_or_create_key(self.ledger.path.with_suffix(".key")))

    def agree(self, study: Study) -> None:
        """Let the ledger remember the consent, unless it does."""
        if not agreed_to(self.ledger, study):
            self.ledger.record(Consent(study.digest, study.name, study.serial))

    def custodian(self, study: Study, codes: Codes) -> Custodian:
        """Its custodian for a study that was signed, over a table that is there already."""
        policy = Policy(repeatable=True)
        if self.cap is not None:
            policy = replace(policy, epsilon_per_population=self.cap.epsilon, delta=self.cap.delta)
        sessions = Sessions(self.ledger.path.with_suffix(".sessions"), most=sys.maxsize)  # nobody else asks here
        holding = Holding(self.population, lambda _: codes, self.ledger, sessions)
        return Custodian(self.identity, {study.digest: study}, holding, policy)


def sign_all(study: Study, identities: Sequence[Identity]) -> tuple[Study, dict[str, str]]:
    """The study as it is written, with the keys of simulated institutions in it, and the signatures of all of them."""
    keys = {identity.name: identity.public for identity in identities}
    signed = as_written(replace(study, institutions=tuple(replace(i, key=keys[i.name]) for i in study.institutions)))
    return signed, {i.name: consent.sign(signed, i.name, i.key) for i in identities}


def _check_complete(study: Study, tables: Mapping[str, pd.DataFrame]) -> None:
    absent = [name for name in study.institution_names if name not in tables]
    if absent:
        raise FederationError(
            "E_MISSING_INSTITUTION", "tables", f"none for {', '.join(absent)}", "Pass a table for each institution."
        )


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
    skew: float | None = None,
) -> dict[str, pd.DataFrame]:
    """One table per institution from a file: ``institutions`` random parts, or one for each value of column ``by``.

    skew: the parts are uneven in the schema's first target, by a Dirichlet distribution of this alpha (``partition.skewed``).
    """
    if skew is not None and (institutions is None or not schema.targets):
        raise StudyError(
            "E_PLAN_INVALID",
            "simulate",
            "skew needs a number of institutions and a target in the schema",
            "Pass --institutions K, and mark a column target = true.",
        )
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
    if skew is not None:
        return skewed(table, institutions or 1, schema.targets[0], skew, rng, schema.person)
    return iid(table, institutions or 1, rng, schema.person)
