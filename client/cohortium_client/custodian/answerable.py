"""Decides whether an institution answers a study: the only place where that is decided.

The custodian asks before every answer; signing, ``institution check``, ``preview`` and ``serve`` ask the same, so that nobody
signs or runs a study that is then refused. What depends on a single request (signatures, receipts, an approval, the order of
rounds) is checked by the custodian itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from cohortium.errors import BudgetError, CohortiumError, LedgerError, StudyError
from cohortium.ledger.records import Consent, Withdrawal
from cohortium.ledger.store import Ledger
from cohortium.privacy.accounting import Events, composed
from cohortium.study import consent
from cohortium.study.expiry import ANEW, expired, has_expired
from cohortium.study.plan import charged, charged_in_all, collusion_events_in_all, plan
from cohortium.study.study import Study
from cohortium_client.custodian.identity import Identity
from cohortium_client.custodian.policy import Policy

CLOCK_SLACK = timedelta(minutes=5)
AMEND = "cohortium ledger amend-clock --institution FOLDER --today YYYY-MM-DD"
ConsentState = Literal["unsigned", "signed", "withdrawn", "replaced"]


def require_open(study: Study, identity: Identity, policy: Policy, ledger: Ledger) -> None:
    """Raises the reason why this institution answers no request for the study, whether it has signed it or is about to.

    StudyError E_RESTORED, E_EXPIRED, E_NOT_IN_STUDY, E_PLAN_UNTRUSTED, or as ``consent.require_signable``; PolicyError.
    """
    if ledger.is_closed(study.digest):
        raise restored(study.digest)
    consent.require_signable(study)
    consent.require_key(study, identity.name, identity.public)
    _require_time_left(study, ledger)
    policy.check(study)


def require_answerable(study: Study, identity: Identity, policy: Policy, ledger: Ledger) -> ConsentState:
    """The state of consent to a study that is answered, or would be once signed; raises the reason if neither holds."""
    require_open(study, identity, policy, ledger)
    word = consent_state(ledger, study)
    if word != "signed":
        require_newest(study, ledger)
    return word


def refusal(study: Study, identity: Identity, policy: Policy, ledger: Ledger) -> CohortiumError | None:
    """Why this institution does not answer the study; None where it does."""
    try:
        require_open(study, identity, policy, ledger)
    except CohortiumError as error:
        return error
    return None


def _require_time_left(study: Study, ledger: Ledger) -> None:
    """The latest time known counts, so that setting the clock back prolongs nothing."""
    now = datetime.now(UTC)
    latest = max(now, ledger.latest or now)
    if ledger.has_ended(study.digest):
        why = "and counted as expired when the ledger's clock was amended, which takes nothing back"
        raise expired(study, why, ANEW)
    if has_expired(study, now):
        raise expired(study, f"and here it is {now:%Y-%m-%d} (UTC)", ANEW)
    if has_expired(study, latest):
        why = f"and the ledger has an entry of {latest:%Y-%m-%d}, though the clock says {now:%Y-%m-%d} (UTC)"
        fix = f"If the clock is right, it was wrong once: run {AMEND}. "
        signed = consent_state(ledger, study) != "unsigned"
        raise expired(study, why, fix + ("Then a" + ANEW[1:] if signed else "Then sign the study."))


def require_clock(ledger: Ledger) -> datetime:
    """The current time; LedgerError E_CLOCK if the ledger has an entry that is later."""
    now = datetime.now(UTC)
    if ledger.latest is not None and ledger.latest > now + CLOCK_SLACK:
        what = (
            f"the clock says {now:%Y-%m-%d %H:%M} (UTC), and the ledger has an entry of {ledger.latest:%Y-%m-%d %H:%M}"
        )
        fix = f"Set the machine's clock. If it is right, it was wrong once: run {AMEND}."
        raise LedgerError("E_CLOCK", "clock", what, fix)
    return now


# What was agreed to


def consent_state(ledger: Ledger, study: Study) -> ConsentState:
    """The latest state of consent to a study: signed, withdrawn, replaced by another of its name, or never signed."""
    agreed, highest, known, withdrawn = "", 0, False, ""
    for entry in ledger.entries():
        match entry.record:
            case Consent(digest, study.name, serial) if serial >= highest:
                agreed, highest, known = digest, serial, known or digest == study.digest
            case Withdrawal(digest) if digest == agreed:
                agreed, withdrawn = "", digest
    if agreed == study.digest:
        return "signed"
    if not known:
        return "unsigned"
    return "withdrawn" if not agreed and withdrawn == study.digest else "replaced"


def agreed_to(ledger: Ledger, study: Study) -> bool:
    """Whether the study with this name and the highest serial that the ledger consents to is this one, and not withdrawn."""
    return not ledger.is_closed(study.digest) and consent_state(ledger, study) == "signed"


def consents_to(ledger: Ledger, study: Study) -> bool:
    """Whether the ledger consents to this study, whatever others of its name it consents to.

    This is the rule of simulations, never of institutions: in a simulation no study replaces another, so that two people
    who simulate at once, or two drafts of a study that are tried in turn, do not end each other's.
    """
    if not study.simulated or ledger.is_closed(study.digest):
        return False
    records = (entry.record for entry in ledger.entries())
    about = [r for r in records if isinstance(r, Consent | Withdrawal) and r.study == study.digest]
    return bool(about) and isinstance(about[-1], Consent)


def not_agreed(word: ConsentState) -> StudyError:
    """The error for a study that is not signed here, or no longer."""
    what, fix = {
        "withdrawn": ("the study was withdrawn here", "Sign it again."),
        "replaced": ("a newer study of this name was signed here", "Run the newer one."),
    }.get(word, ("this institution has not signed the study", "Sign it."))
    return StudyError("E_PLAN_UNTRUSTED", "request", what, fix)


def require_newest(study: Study, ledger: Ledger) -> None:
    """StudyError E_PLAN_UNTRUSTED if another study of this name was signed that has no lower serial."""
    for entry in ledger.entries():
        match entry.record:
            case Consent(digest, study.name, serial) if serial >= study.serial and digest != study.digest:
                raise StudyError(
                    "E_PLAN_UNTRUSTED",
                    f"study {study.name!r}",
                    f"serial {serial} of it was signed before, this one is serial {study.serial}",
                    "Give a changed study a higher serial.",
                )


def restored(study: str) -> StudyError:
    """The error for a study that was signed before the ledger was restored."""
    return StudyError(
        "E_RESTORED",
        f"study {study[:16]}",
        "it was agreed to before the ledger was restored, and may have been answered",
        "Give it a higher serial, and let everybody sign it anew.",
    )


# What was answered of a study, and what remains to be paid


@dataclass(frozen=True)
class Answers:
    """How many of a study's rounds were answered in the run that has come furthest."""

    run: str
    done: int
    rounds: int

    @property
    def complete(self) -> bool:
        """Whether the last round was answered; with dropouts, earlier ones may have been missed."""
        return self.done == self.rounds


def answers_to(study: Study, population: str, ledger: Ledger) -> Answers | None:
    """The answers given to a study from this population; None where there are none."""
    done: dict[str, int] = {}
    for charge in ledger.charges(population):
        if charge.study == study.digest:
            done[charge.run] = max(done.get(charge.run, 0), charge.round + 1)
    if not done:
        return None
    furthest = max(done, key=lambda run: done[run])
    return Answers(furthest, done[furthest], plan(study).rounds)


def still_to_pay(study: Study, answers: Answers | None, policy: Policy) -> tuple[Events, Events]:
    """What the study would still cost here, towards the coordinator and towards all others together.

    The whole plan if no run has begun, the rest of a run that has, and nothing after its end unless the study may be repeated.
    """
    if answers is None or (answers.complete and policy.repeatable):
        return charged_in_all(study), collusion_events_in_all(study)
    phases = [plan(study).phase(number) for number in range(answers.done, answers.rounds)]
    bare = composed(e for p in phases if p.honest > 1 for e in p.collusion_events)
    return composed(e for p in phases for e in charged(study, p.answer_events)), bare


def require_paid_for(study: Study, population: str, policy: Policy, ledger: Ledger) -> str:
    """The budget's verdict on the study, in words; BudgetError E_BUDGET if the remaining answers cannot be paid for."""
    answers = answers_to(study, population, ledger)
    events, bare = still_to_pay(study, answers, policy)
    if answers is not None and answers.complete:
        return f"answered already, in run {answers.run}; {_again(study, population, policy, ledger)}"
    ledger.afford(population, study.digest, events, policy.caps(study), bare)
    if answers is None:
        return "the whole study can be paid for"
    return f"{answers.done} of {answers.rounds} rounds are answered, in run {answers.run}; the others can be paid for"


def _again(study: Study, population: str, policy: Policy, ledger: Ledger) -> str:
    """Whether it could be answered a second time; that it could not is no error where one answer is all it may have."""
    if not policy.repeatable:
        return "a second answer would need repeatable = true in policy.toml, or a study of a higher serial"
    try:
        ledger.afford(
            population, study.digest, charged_in_all(study), policy.caps(study), collusion_events_in_all(study)
        )
    except BudgetError as error:
        return f"a second answer could not be paid for: {error.what}"
    return "a second answer can be paid for, too"
