"""Whether an institution is ready: every line that fails ends with what to do. Counts stay on the operator's screen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cohortium.checks import Check, checked, failed, in_units, memory_left, room
from cohortium.consent import read_signatures, unsigned
from cohortium.errors import CohortiumError, InputError, StudyError
from cohortium.faults import Faults
from cohortium.study import Study, Trained, load_study
from cohortium.tally import Tally, tally_of
from cohortium_client.custodian import agreed_to, restored
from cohortium_client.gate import is_served
from cohortium_client.institution import Institution, load_institution
from cohortium_client.relay import has_joined, relay_folder
from cohortium_client.relay_preflight import relay_preflight
from cohortium_client.source import load_source

LONGEST_SOCKET = 90  # bytes of its path; the system allows 107, and a private folder beside it needs some
CLOCK_SLACK = timedelta(minutes=5)


def preflight(folder: Path, study_file: Path | None = None) -> Iterator[Check]:
    """Look at everything the custodian will need, and the relay where the institution has joined a federation.

    With a study also at whether that study could be answered. The folder may be a relay's own, too.
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
    yield checked("clock", lambda: _clock(institution))
    yield from _joined(institution)
    studies = _studies(institution, study_file)
    for name, study in studies:
        yield from _about(institution, name, study, study_file)
    if studies:
        yield checked("memory", _memory)
    if any(isinstance(study.generator, Trained) for _, study in studies):
        yield checked("device", _device)


def _joined(institution: Institution) -> Iterator[Check]:
    """Its relay, if that lies where it does by default and can be looked at from here."""
    folder = relay_folder(institution.folder)
    try:
        joined = has_joined(folder)
    except PermissionError:
        yield Check("relay's folder", True, f"another user's: let that one say cohortium institution check {folder}")
        return
    if joined:
        yield from relay_preflight(folder, institution)
    elif institution.file.proxy is not None:
        yield Check(
            "proxy", True, f"it is for a relay in {folder} alone, and none is there; another says it in its relay.toml"
        )


def _memory() -> str:
    """What this process took, which has just read the table of every study."""
    import resource  # POSIX has it, as it has users

    peak, left = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, memory_left()
    told = f"reading the table took at most {in_units(peak)}"
    if left is not None and left < peak:
        what = f"{told}, and {in_units(left)} is left"
        raise InputError("E_IO", "memory", what, "Stop what else runs here, or use a larger machine.")
    return told if left is None else f"{told}, {in_units(left)} is left (stays on this screen)"


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
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        raise InputError(
            "E_INSTITUTION", "institution.toml, socket", "its path is too long", f"At most {LONGEST_SOCKET} bytes."
        )
    uid = os.getuid() if institution.file.relay_uid is None else institution.file.relay_uid
    return f"user {_user(uid)} may ask at {path.name}, {'a custodian is serving there' if is_served(path) else 'nobody serves there now'}"


def _user(uid: int) -> str:
    """A user's name, or number: in containers users need no name."""
    import pwd

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


def _sessions(institution: Institution) -> str:
    """Runs of masked sums; how many could be open follows from nobody's table."""
    if not institution.sessions_file.exists() and not institution.sessions_witness.exists():
        return "no run of masked sums yet"
    with closing(institution.sessions()) as sessions:
        return f"{sessions.open_runs()} of at most {sessions.most} runs of masked sums are open"


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
    yield checked(f"{name}: policy", lambda: _policy(institution, study))
    yield checked(f"{name}: budget", lambda: _budget(institution, study))
    if study_file is not None:
        yield checked(f"{name}: consent", lambda: _consents(study, study_file))
    faults = Faults("source")
    yield checked(f"{name}: table", lambda: _table(institution, study, faults))
    for fault in faults.found:
        yield Check(f"{name}: {fault.kind.name}", False, f"{fault} (stays on this screen)", fault.kind.fix)


def _policy(institution: Institution, study: Study) -> str:
    institution.policy.check(study)
    with institution.ledger() as ledger:
        if ledger.is_closed(study.digest):
            raise restored(study.digest)
        agreed = agreed_to(ledger, study)
    return "allowed, " + ("and signed here" if agreed else "not signed here yet")


def _budget(institution: Institution, study: Study) -> str:
    with institution.ledger() as ledger:
        institution.custodian(ledger).afford(study)
    return "the whole study can be paid for"


def _consents(study: Study, study_file: Path) -> str:
    signatures = read_signatures(study_file, study)
    absent = unsigned(study, signatures)
    if wrong := [name for name in absent if name in signatures]:
        what = f"what lies there of {', '.join(wrong)} is not a signature of this study"
        raise StudyError("E_PLAN_UNTRUSTED", "signatures", what, "Let them sign the study as it is now.")
    if absent:  # nothing is wrong before all have signed: it is looked at in order to sign
        return f"{len(signatures)} of {len(study.institutions)} have signed; a run waits for {', '.join(absent)}"
    return f"all {len(study.institutions)} institutions have signed"


def _table(institution: Institution, study: Study, faults: Faults) -> str:
    codes = load_source(institution.file.source, institution.folder, study.schema, faults)
    tally = tally_of(codes, study.schema)
    breaking = f", {codes.breaking} of them because they break a constraint" if study.schema.constraints else ""
    found = f"{len(codes)} rows of {tally.persons} persons fit the schema, {codes.left_out} rows do not{breaking}"
    return f"{found}{_uncounted(tally, study)} (stays on this screen)"


def _uncounted(tally: Tally, study: Study) -> str:
    """How many fitting rows the study does not count, where it counts so many of a person at most."""
    most = study.privacy.rows_per_person
    if study.privacy.equal_weight == "persons" or tally.counted(most) == tally.fitting:
        return ""
    return f"; only {tally.counted(most)} of them count, as the study says rows_per_person = {most}"
