"""Whether an institution is ready: every failed check ends with what to do. Counts stay on the operator's screen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from cohortium.data.encoding import Codes
from cohortium.data.readers.faults import Faults
from cohortium.drafting.reasons import HERE, counted_in_all, reasons
from cohortium.drafting.tally import Tally, census_lines, tally_of
from cohortium.errors import CohortiumError, InputError, MaskingError, SchemaError, StudyError
from cohortium.ledger.location import require_free
from cohortium.study.consent import read_signatures, unsigned
from cohortium.study.generators import Trained
from cohortium.study.study import Study, load_study
from cohortium.system.checks import Check, Warned, checked, failed, in_units, memory_left, noted, room, taken, writes
from cohortium_client.custodian.answerable import (
    answers_to,
    consent_state,
    require_answerable,
    require_clock,
    require_open,
    require_paid_for,
)
from cohortium_client.custodian.institution import Institution, load_institution
from cohortium_client.relay import has_joined, relay_folder
from cohortium_client.relay_preflight import relay_preflight
from cohortium_client.socket.gate import is_served, require_place, require_short
from cohortium_client.source.source import faults_of, load_and_look

if TYPE_CHECKING:
    from cohortium.drafting.checking import Fit

WORTH_IT = 1 << 20  # bytes


def preflight(folder: Path, study_file: Path | None = None) -> Iterator[Check]:
    """Check everything the custodian will need, and the relay where the institution has joined a federation.

    With a study, also whether it could be answered. The folder may be a relay's, too.
    """
    if has_joined(folder):
        yield from relay_preflight(folder)
        return
    try:
        institution = load_institution(folder)
    except CohortiumError as error:
        yield failed("folder", error)
        return
    yield Check("folder", True, f"institution {institution.identity.name!r}, key {institution.identity.public}")
    yield checked("rights", lambda: _rights(institution))
    yield checked("relay", lambda: _relay(institution))
    yield checked("ledger", lambda: _ledger(institution))
    yield checked("sessions", lambda: _sessions(institution))
    yield checked("disk", lambda: room(institution.ledger_file.parent))
    yield checked("files", lambda: _files(institution))
    yield checked("clock", lambda: _clock(institution))
    yield from _joined(institution)
    studies = []
    for name, study in _studies(institution, study_file):
        over = None if study_file else _over(institution, study)
        if over is not None:
            yield Check(name, True, over)
            continue
        studies.append((name, study))
        yield from _about(institution, name, study, study_file)
    if studies:
        yield checked("memory", _memory)
    if any(isinstance(study.generator, Trained) for _, study in studies):
        yield checked("device", _device)


def require_ready(institution: Institution) -> None:
    """The checks that a custodian needs to start; raises the first that fails.

    Warnings, such as a nearly full disk, go to the log.
    """
    _rights(institution)
    require_free(institution.ledger_file)  # first, so that a second custodian is reported as such
    for folder in dict.fromkeys((institution.ledger_file.parent, institution.witness.parent)):
        writes(folder)
    require_place(institution.socket.absolute())
    institution.look()
    with institution.ledger() as ledger:
        ledger.writable()
    noted(lambda: room(institution.ledger_file.parent))


def _joined(institution: Institution) -> Iterator[Check]:
    """Checks of its relay, if that is in the default place and can be read from here."""
    folder = relay_folder(institution.folder)
    try:
        joined = has_joined(folder)
    except PermissionError:
        yield Check("relay's folder", True, f"another user's: let that user run cohortium institution check {folder}")
        return
    if joined:
        yield from relay_preflight(folder, institution)
    elif institution.file.proxy is not None:
        yield Check(
            "proxy",
            True,
            f"it applies only to a relay in {folder}, and there is none; any other is set in its relay.toml",
        )


def _memory() -> str:
    """The peak memory of this process, which has just read the table for every study."""
    import resource  # POSIX has it, as it has users

    peak, left = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, memory_left()
    took = f"reading the table took at most {in_units(peak)}"
    if left is not None and left < peak:
        what = f"{took}, and {in_units(left)} is left"
        raise InputError("E_IO", "memory", what, "Stop what else runs here, or use a larger machine.")
    return took if left is None else f"{took}, {in_units(left)} is left (stays on this screen)"


def _device() -> str:
    from cohortium.neural.device import device_words

    return f"training runs on {device_words()}"


def _rights(institution: Institution) -> str:
    mode = institution.folder.stat().st_mode & 0o077
    if mode & 0o022:
        raise InputError("E_INSTITUTION", institution.folder.name, "others may write into the folder", "chmod 700 it.")
    if not os.access(institution.folder, os.W_OK):
        raise InputError("E_INSTITUTION", institution.folder.name, "it cannot be written", "Run as its owner.")
    return "the key is its owner's alone, the folder can be written"


def _relay(institution: Institution) -> str:
    path = institution.socket.absolute()
    require_short(path)
    uid = os.getuid() if institution.file.relay_uid is None else institution.file.relay_uid
    return f"user {_user(uid)} may ask at {path.name}, {'a custodian is serving there' if is_served(path) else 'nobody serves there now'}"


def _user(uid: int) -> str:
    """A user's name, or number: in containers users need no name."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"{uid} (without a name on this machine)"


def _ledger(institution: Institution) -> str | Warned:
    with institution.ledger() as ledger:
        count = ledger.verify()
        ledger.writable()
        cap, population = institution.policy.epsilon_per_population, institution.file.population.name
        spent, presumed = ledger.spent(population, institution.policy.delta).epsilon, ledger.presumed is not None
    found = (
        f"{count} entries, chain intact; of {population!r} epsilon {spent:.3f} of {cap:g} is spent "
        f"at delta {institution.policy.delta:g}"
    )
    if cap is not None and not spent < cap:
        where = " at a larger delta: the ledger was restored (docs/backup.md)" if presumed else ""
        return Warned(f"{found}: nothing more can be answered", f"Decide on a higher epsilon_per_population{where}.")
    return found


def _sessions(institution: Institution) -> str:
    """The open runs of masked sums; their number follows from no table."""
    if not institution.sessions_file.exists() and not institution.sessions_witness.exists():
        return "no run of masked sums yet"
    with closing(institution.sessions()) as sessions:
        found = f"{sessions.open_runs()} of at most {sessions.most} runs of masked sums are open"
        if sessions.open_runs() >= sessions.most:
            fix = "Let runs end; one that nobody asks about for 30 days is forgotten."
            raise MaskingError("E_OPEN_RUNS", "sessions", f"{found}, and no other can begin", fix)
        return found


def _files(institution: Institution) -> str:
    """The size of each file. It follows from what was signed and answered, and from no row."""
    with institution.ledger() as ledger:
        runs, size, free = len(ledger.runs_with_answers()), taken(ledger.path), ledger.free_bytes()
    others = {"sessions": institution.sessions_file, "studies": institution.agreements.folder}
    listed = ", ".join(f"{name} {in_units(taken(path))}" for name, path in others.items())
    less = f" ({in_units(free)} less after cohortium ledger compact)" if free > WORTH_IT else ""
    return f"ledger {in_units(size)}{less}, with the answers of {runs} runs that may ask for them again; {listed}"


def _clock(institution: Institution) -> str:
    with institution.ledger() as ledger:
        return require_clock(ledger).isoformat(timespec="seconds")


def _studies(institution: Institution, study_file: Path | None) -> list[tuple[str, Study]]:
    studies = [load_study(study_file)] if study_file else list(institution.agreements.values())
    return [(f"study {s.name!r}, serial {s.serial}", s) for s in studies]


def _about(institution: Institution, name: str, study: Study, study_file: Path | None) -> Iterator[Check]:
    yield checked(f"{name}: policy", lambda: _policy(institution, study))
    yield checked(f"{name}: budget", lambda: _budget(institution, study))
    if study_file is not None:
        yield checked(f"{name}: consent", lambda: _consents(study, study_file))
    yield from _rows(institution, name, study)


def _over(institution: Institution, study: Study) -> str | None:
    """Why a signed study is over and needs no further check; None where it is not over and must be answerable."""
    with institution.ledger() as ledger:
        word = consent_state(ledger, study)
        if word in ("withdrawn", "replaced"):
            by = "" if word == "withdrawn" else " by a newer one"
            return f"over: it was {word} here{by}, and is no longer answered"
        answers = answers_to(study, institution.file.population.name, ledger)
        if answers is None or not answers.complete:
            return None
        try:
            require_open(study, institution.identity, institution.policy, ledger)
        except StudyError as error:
            return f"over: it was answered in run {answers.run}; {error.what}" if error.code == "E_EXPIRED" else None
    return None


def _policy(institution: Institution, study: Study) -> str | Warned:
    """The check that the custodian makes before each answer."""
    with institution.ledger() as ledger:
        word = require_answerable(study, institution.identity, institution.policy, ledger)
    approve = (
        "; a person lets each run go ahead: cohortium institution approve"
        if institution.policy.require_approval
        else ""
    )
    if word == "withdrawn":
        return Warned(f"allowed, and withdrawn here{approve}", "Sign it again, if it is to be answered again.")
    return f"allowed, and {'signed here' if word == 'signed' else 'not signed here yet'}{approve}"


def _budget(institution: Institution, study: Study) -> str:
    with institution.ledger() as ledger:
        return require_paid_for(study, institution.file.population.name, institution.policy, ledger)


def _consents(study: Study, study_file: Path) -> str | Warned:
    signatures = read_signatures(study_file, study)
    absent = unsigned(study, signatures)
    if wrong := [name for name in absent if name in signatures]:
        what = f"the file of {', '.join(wrong)} is not a signature of this study"
        raise StudyError("E_PLAN_UNTRUSTED", "signatures", what, "Let them sign the study as it is now.")
    if absent:  # no error: a study is checked before it is signed
        signed = f"{len(signatures)} of {len(study.institutions)} have signed"
        return Warned(
            f"{signed}; a run waits for {', '.join(absent)}", "Let them sign, and put their signatures beside it."
        )
    return f"all {len(study.institutions)} institutions have signed"


def _rows(institution: Institution, name: str, study: Study) -> Iterator[Check]:
    """How the table's rows fit. Nothing depends on it: answers are the same function of the rows that fit, however many."""
    faults = faults_of(study.schema)
    seen: dict[str, Fit] = {}
    yield checked(f"{name}: table", lambda: _table(institution, study, faults, seen))
    for table, unread in faults.items():
        label = f"{name}, {table}" if study.schema.tables else name
        for fault in unread.found:
            yield Check(f"{label}: {fault.kind.name}", False, f"{fault} {HERE}", fault.kind.fix)
        for reason in reasons(seen[table], study.schema.parts[table]) if table in seen else []:
            yield Check(f"{label}: {reason.where}", True, f"{reason.what} {HERE}", reason.fix, warning=True)


def _table(institution: Institution, study: Study, faults: dict[str, Faults], seen: dict[str, Fit]) -> str | Warned:
    codes, found = load_and_look(institution.file.source, institution.folder, study.schema, faults)
    seen.update(found)
    if not len(codes):
        fix = "No row of this table counts in any answer. The lines below say what does not fit."
        there = any(one.rows for one in found.values())
        raise SchemaError(
            "E_MISFIT", "table", f"{counted_in_all(found)} {HERE}", fix if there else "Is it the right table?"
        )
    fitting = _fitting(codes, study)
    if codes.left_out:
        return Warned(fitting, "The lines below say what does not fit; answers are made from the other rows.")
    return fitting


def _fitting(codes: Codes, study: Study) -> str:
    if study.schema.tables:
        return f"{len(codes)} persons; {' '.join(census_lines(codes))} {HERE}"
    tally = tally_of(codes, study.schema)
    breaking = f", {codes.breaking} of them because they break a constraint" if study.schema.constraints else ""
    found = f"{len(codes)} rows of {tally.persons} persons fit the schema, {codes.left_out} rows do not{breaking}"
    return f"{found}{_uncounted(tally, study)} {HERE}"


def _uncounted(tally: Tally, study: Study) -> str:
    """How many fitting rows the study does not count, where it bounds the rows of a person."""
    most = study.privacy.rows_per_person
    if study.privacy.equal_weight == "persons" or tally.counted(most) == tally.fitting:
        return ""
    return f"; only {tally.counted(most)} of them count, as the study says rows_per_person = {most}"
