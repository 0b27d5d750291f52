"""What an institution has agreed to: the studies it signed, kept in its folder, and the consents in its ledger.

The ledger has the last word: a study that lies in the folder but that no entry consents to is not answered.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from cohortium import consent, failpoints, locks
from cohortium.errors import CohortiumError, StudyError
from cohortium.files import write_whole
from cohortium.plan import plan
from cohortium.privacy.ledger import Approval, Consent, Ledger, Withdrawal
from cohortium.study import Study, dumps_schema, dumps_study, load_study
from cohortium_client.custodian import Identity, restored
from cohortium_client.policy import Policy

STUDY, SCHEMA = "study.toml", "schema.toml"


class Agreements(Mapping[str, Study]):
    """Studies by their digests, each in a folder of that name; what has another digest by now is not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, Study] = {}

    def __getitem__(self, digest: str) -> Study:
        if digest not in self._loaded:
            self._loaded[digest] = self._load(digest)
        return self._loaded[digest]

    def __iter__(self) -> Iterator[str]:
        """Names with a dot are of studies that were being written when the process ended."""
        return iter(sorted(p.name for p in self._folder.glob("[!.]*") if (p / STUDY).is_file()))

    def __len__(self) -> int:
        return len(list(iter(self)))

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
        """Put a study into the folder, whole or not at all; what was touched since is put right."""
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


def agree(study: Study, identity: Identity, policy: Policy, ledger: Ledger, agreements: Agreements) -> str:
    """Sign a study: the policy is asked, the study kept and the consent recorded. The signature.

    Raises PolicyError, or StudyError E_PLAN_UNTRUSTED if the study names another key for the institution, or a study
    of this name and a higher serial, or of the same serial and another content, was signed before, or E_RESTORED if this
    one was signed before the ledger was restored; the plan's own errors where it has none.
    """
    consent.require_signable(study)
    if ledger.is_closed(study.digest):
        raise restored(study.digest)
    consent.require_key(study, identity.name, identity.public)
    policy.check(study)
    plan(study)
    _check_serial(study, ledger)
    agreements.keep(study)
    failpoints.passed("study kept")
    ledger.record(Consent(study.digest, study.name, study.serial))
    return consent.sign(study, identity.name, identity.key)


def _check_serial(study: Study, ledger: Ledger) -> None:
    for entry in ledger.entries():
        match entry.record:
            case Consent(digest, study.name, serial) if serial >= study.serial and digest != study.digest:
                raise StudyError(
                    "E_PLAN_UNTRUSTED",
                    f"study {study.name!r}",
                    f"serial {serial} of it was signed before, this one is serial {study.serial}",
                    "Give a changed study a higher serial.",
                )


def withdraw(digest: str, ledger: Ledger) -> None:
    """Answer a study no longer. What was answered stays charged."""
    ledger.record(Withdrawal(digest))


def approve(study: str, run: str, ledger: Ledger) -> None:
    """Let a run of a study go ahead."""
    ledger.record(Approval(study, run))
