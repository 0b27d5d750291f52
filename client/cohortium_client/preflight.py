"""Whether an institution is ready: every line that fails ends with what to do. Counts stay on the operator's screen."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from cohortium.consent import read_signatures, unsigned
from cohortium.errors import CohortiumError, InputError, StudyError
from cohortium.study import Study, load_study
from cohortium_client.custodian import agreed_to
from cohortium_client.gate import is_served
from cohortium_client.institution import Institution, load_institution
from cohortium_client.source import load_source

LONGEST_SOCKET = 90  # bytes of its path; the system allows 107, and a private folder beside it needs some
CLOCK_SLACK = timedelta(minutes=5)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. fix: the next step, where it failed."""

    name: str
    passed: bool
    found: str
    fix: str = ""


def preflight(folder: Path, study_file: Path | None = None) -> Iterator[Check]:
    """Look at everything the custodian will need; with a study also at whether that study could be answered."""
    try:
        institution = load_institution(folder)
    except CohortiumError as error:
        yield _failed("folder", error)
        return
    yield Check("folder", True, f"institution {institution.identity.name!r}, key {institution.identity.public}")
    yield _checked("rights", lambda: _rights(institution))
    yield _checked("relay", lambda: _relay(institution))
    yield _checked("ledger", lambda: _ledger(institution))
    yield _checked("clock", lambda: _clock(institution))
    for name, study in _studies(institution, study_file):
        yield from _about(institution, name, study, study_file)


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except CohortiumError as error:
        return _failed(name, error)


def _failed(name: str, error: CohortiumError) -> Check:
    return Check(name, False, f"{error.code}: {error.where}: {error.what}", error.fix)


def _rights(institution: Institution) -> str:
    mode = institution.folder.stat().st_mode & 0o077
    if mode & 0o022:
        raise InputError("E_INSTITUTION", institution.folder.name, "others may write into the folder", "chmod 700 it.")
    if not os.access(institution.folder, os.W_OK):
        raise InputError("E_INSTITUTION", institution.folder.name, "it cannot be written", "Run as its owner.")
    return "the key is its owner's alone, the folder can be written"


def _relay(institution: Institution) -> str:
    path = institution.socket.absolute()
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        raise InputError(
            "E_INSTITUTION", "institution.toml, socket", "its path is too long", f"At most {LONGEST_SOCKET} bytes."
        )
    uid = os.getuid() if institution.file.relay_uid is None else institution.file.relay_uid
    return f"user {_user(uid)} may ask at {path.name}, {'a custodian is serving there' if is_served(path) else 'nobody serves there now'}"


def _user(uid: int) -> str:
    """A user's name, or number: in containers users need no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"{uid} (without a name on this machine)"


def _ledger(institution: Institution) -> str:
    with institution.ledger() as ledger:
        count = ledger.verify()
        ledger.writable()
        cap, population = institution.policy.epsilon_per_population, institution.file.population.name
        spent = ledger.spent(population, institution.policy.delta).epsilon
    return (
        f"{count} entries, chain intact; of {population!r} epsilon {spent:.3f} of {cap:g} is spent "
        f"at delta {institution.policy.delta:g}"
    )


def _clock(institution: Institution) -> str:
    now = datetime.now(UTC)
    with institution.ledger() as ledger:
        last = max((e.at for e in ledger.entries()), default="")
    if last and datetime.fromisoformat(last) > now + CLOCK_SLACK:
        raise InputError(
            "E_INSTITUTION", "clock", f"it is behind the ledger's last entry of {last}", "Set the machine's clock."
        )
    return f"{now.isoformat(timespec='seconds')}"


def _studies(institution: Institution, study_file: Path | None) -> list[tuple[str, Study]]:
    studies = [load_study(study_file)] if study_file else list(institution.agreements.values())
    return [(f"study {s.name!r}, serial {s.serial}", s) for s in studies]


def _about(institution: Institution, name: str, study: Study, study_file: Path | None) -> Iterator[Check]:
    yield _checked(f"{name}: policy", lambda: _policy(institution, study))
    yield _checked(f"{name}: budget", lambda: _budget(institution, study))
    if study_file is not None:
        yield _checked(f"{name}: consent", lambda: _consents(study, study_file))
    yield _checked(f"{name}: table", lambda: _table(institution, study))


def _policy(institution: Institution, study: Study) -> str:
    institution.policy.check(study)
    with institution.ledger() as ledger:
        agreed = agreed_to(ledger, study)
    return "allowed, " + ("and signed here" if agreed else "not signed here yet")


def _budget(institution: Institution, study: Study) -> str:
    with institution.ledger() as ledger:
        institution.custodian(ledger).afford(study)
    return "the whole study can be paid for"


def _consents(study: Study, study_file: Path) -> str:
    if absent := unsigned(study, read_signatures(study_file, study)):
        raise StudyError(
            "E_PLAN_UNTRUSTED", "signatures", f"{', '.join(absent)} has not signed yet", "Send the study to them."
        )
    return f"all {len(study.institutions)} institutions have signed"


def _table(institution: Institution, study: Study) -> str:
    codes = load_source(institution.file.source, institution.folder, study.schema)
    persons = len(np.unique(codes.persons))
    breaking = f", {codes.breaking} of them because they break a constraint" if study.schema.constraints else ""
    found = f"{len(codes)} rows of {persons} persons fit the schema, {codes.left_out} rows do not{breaking}"
    return f"{found} (stays on this screen)"
