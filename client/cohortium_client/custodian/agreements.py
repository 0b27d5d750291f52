"""What an institution has agreed to: the studies it signed, stored in its folder, and the consents in its ledger.

The ledger decides: a study in the folder that no entry consents to is not answered.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from cohortium.errors import CohortiumError, StudyError
from cohortium.ledger.records import Approval, Consent, Withdrawal
from cohortium.ledger.store import Ledger
from cohortium.study import consent
from cohortium.study.plan import plan
from cohortium.study.study import Study, dumps_schema, dumps_study, load_study
from cohortium.system import failpoints, locks
from cohortium.system.files import write_whole
from cohortium_client.custodian.answerable import require_answerable, require_paid_for
from cohortium_client.custodian.identity import Identity
from cohortium_client.custodian.policy import Policy

STUDY, SCHEMA = "study.toml", "schema.toml"


class Agreements(Mapping[str, Study]):
    """Studies by their digests, each in a folder of that name; a study whose digest has changed since is not listed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, Study] = {}

    def __getitem__(self, digest: str) -> Study:
        if digest not in self._loaded:
            self._loaded[digest] = self._load(digest)
        return self._loaded[digest]

    def __iter__(self) -> Iterator[str]:
        """Names with a dot belong to studies that were being written when the process ended."""
        return iter(sorted(p.name for p in self._folder.glob("[!.]*") if (p / STUDY).is_file()))

    def __len__(self) -> int:
        return len(list(iter(self)))

    @property
    def folder(self) -> Path:
        return self._folder

    def find(self, beginning: str) -> str:
        """The digest that begins so; StudyError E_NOT_IN_STUDY unless it is exactly one."""
        found = [digest for digest in self if digest.startswith(beginning)]
        if len(found) != 1:
            raise StudyError(
                "E_NOT_IN_STUDY",
                beginning or "study",
                f"{len(found)} studies that were signed here begin so",
                "Give the digest as cohortium study verify shows it.",
            )
        return found[0]

    def _load(self, digest: str) -> Study:
        if digest not in set(self):
            raise KeyError(digest)
        try:
            study = load_study(self._folder / digest / STUDY)
        except CohortiumError:
            raise KeyError(digest) from None
        if study.digest != digest:
            raise KeyError(digest)
        return study

    def keep(self, study: Study) -> None:
        """Put a study into the folder, whole or not at all; files that were changed since are restored."""
        if study.digest in self:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".", dir=self._folder))
        try:
            write_whole(partial / STUDY, dumps_study(study).encode())
            write_whole(partial / SCHEMA, dumps_schema(study.schema).encode())
            failpoints.passed("study written aside")
            with locks.alone_in(self._folder):  # of two who sign it at once, the second finds it signed
                if study.digest not in self:
                    shutil.rmtree(self._folder / study.digest, ignore_errors=True)
                    partial.rename(self._folder / study.digest)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def agree(
    study: Study,
    identity: Identity,
    policy: Policy,
    ledger: Ledger,
    agreements: Agreements,
    population: str | None = None,
) -> str:
    """Sign a study: make the custodian's checks, store the study and record the consent. Returns the signature.

    population: whose budget is checked; None for no such check. Raises as ``require_answerable`` does, BudgetError E_BUDGET
    if the population cannot pay for it, and the plan's errors for a study without a valid plan.
    """
    require_answerable(study, identity, policy, ledger)
    plan(study)
    if population is not None:
        require_paid_for(study, population, policy, ledger)
    agreements.keep(study)
    failpoints.passed("study kept")
    ledger.record(Consent(study.digest, study.name, study.serial))
    return consent.sign(study, identity.name, identity.key)


def withdraw(digest: str, ledger: Ledger) -> None:
    """Stop answering a study. What was answered stays charged."""
    ledger.record(Withdrawal(digest))


def approve(study: str, run: str, ledger: Ledger) -> None:
    """Let a run of a study go ahead."""
    ledger.record(Approval(study, run))
