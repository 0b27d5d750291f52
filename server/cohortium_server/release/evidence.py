"""Verifies offline that a release's institutions agreed to it and charged for it.

The manifest proves that the coordinator's files were not changed since they were signed. This module proves what the coordinator
cannot forge: every institution's signature on the study, and its receipt for every round of the study's plan. It also compares the
claimed cost with these: the account lists every attempt by its number, abandoned attempts count as
charged to everybody, and no claim may be less than the cost of the plan with all of them. Leaving out an attempt leaves a
gap before the one that was opened, whose number the institutions have signed (``custodian/masked.py`` explains why no
institution that helped to open an attempt was charged for a later one).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortium.errors import ReleaseError
from cohortium.ledger.receipt import Receipt, about
from cohortium.privacy.accounting import cost
from cohortium.study.consent import unsigned
from cohortium.study.guarantee import events_towards
from cohortium.study.plan import Plan, plan, with_attempts
from cohortium.study.study import Institution, Study
from cohortium.system.documents import load_json
from cohortium_server.release.manifest import MANIFEST, kind_of

ROUNDING = 1e-3  # of epsilon, that the accountant of another version may differ by


def check_kind(manifest: Mapping[str, Any], study: Study) -> None:
    """ReleaseError E_RELEASE_TOUCHED where a release of made-up institutions is called anything but a simulation."""
    if study.simulated and kind_of(manifest) != "simulation":
        what = "it is not called a simulation, but its institutions signed one"
        raise ReleaseError("E_RELEASE_TOUCHED", MANIFEST, what, "Do not use this release; ask who made it.")


def check_evidence(folder: Path, study: Study) -> None:
    """ReleaseError E_RELEASE_TOUCHED naming the institution whose consent or receipt is missing or not its own.

    Also where attempts are missing from the account, or a claim is less than their cost.
    """
    try:
        document = load_json(folder / "ledger.json")
        consents = {i["name"]: str(i["consent"]) for i in document["institutions"]}
        answers = {i["name"]: _answers(document, i) for i in document["institutions"]}
        genuine = document["study"] == study.digest and set(answers) == set(study.institution_names)
    except (ValueError, KeyError, TypeError):
        genuine, document, consents, answers = False, {}, {}, {}
    if not genuine:
        raise _unproven("it is not this study's account")
    if absent := unsigned(study, consents):
        raise _unproven(f"{', '.join(absent)} has not signed the study")
    for institution in study.institutions:
        if not all(_proves(a, institution) for a in answers[institution.name]):
            raise _unproven(f"a receipt of {institution.name} is not its own, or not of this answer")
    spent = _charged(study, [a for given in answers.values() for a in given])
    if not _covers(document.get("cost"), document.get("guarantees"), study, spent):
        raise _unproven("it claims less than the cost of what it lists")
    manifest = load_json(folder / MANIFEST)
    if not _covers(manifest.get("guarantee"), manifest.get("guarantees"), study, spent):
        raise _unproven("what it lists costs more than the manifest claims")


@dataclass(frozen=True)
class _Answer:
    """One institution's answer as the account lists it. about: its study, run, round and attempt, as in its receipt."""

    round: int
    attempt: int
    opened: bool
    about: str
    receipt: Receipt


def _answers(document: dict[str, Any], institution: dict[str, Any]) -> list[_Answer]:
    """The answers that the account lists for an institution. Earlier versions listed opened attempts only."""
    found = []
    for a in institution["answers"]:
        number, attempt = int(a["round"]), int(a["attempt"])
        to = about(str(document["study"]), str(document["run"]), number, attempt)
        found.append(_Answer(number, attempt, bool(a.get("opened", True)), to, Receipt(**a["receipt"])))
    return found


def _proves(answer: _Answer, institution: Institution) -> bool:
    """Whether the institution signed a receipt for exactly this answer."""
    receipt = answer.receipt
    return (receipt.institution, receipt.about) == (institution.name, answer.about) and receipt.is_of(institution.key)


def _charged(study: Study, answers: Iterable[_Answer]) -> Plan:
    """The plan with every attempt that was charged: for each round all attempts up to the largest number listed."""
    by_round: dict[int, list[_Answer]] = {number: [] for number in range(plan(study).rounds)}
    for answer in answers:
        if answer.round not in by_round:
            raise _unproven("it lists an answer to a round that the study does not ask")
        by_round[answer.round].append(answer)
    again = Counter[str]()
    for number, given in by_round.items():
        opened = [a.attempt for a in given if a.opened]
        if len(set(opened)) > 1:
            raise _unproven(f"it lists several sums of round {number}")
        if len({a.receipt.institution for a in given if a.opened}) < study.answers_needed:
            raise _unproven(f"not enough institutions have signed for round {number}")
        again[plan(study).phase(number).name] += max(a.attempt for a in given)
    return with_attempts(study, plan(study), again)


def _covers(whole: Any, guarantees: Any, study: Study, spent: Plan) -> bool:
    """Whether the claimed total cost, and the claim for each adversary, are no less than the cost of what was charged."""
    delta = study.privacy.delta
    events = events_towards(study, spent)
    try:
        claimed = {str(g["adversary"]): g for g in guarantees}
        return _at_least(whole, spent.cost.epsilon, delta) and all(
            _at_least(claimed[a], cost(met, delta).epsilon, delta) for a, met in events.items()
        )
    except (KeyError, TypeError, ValueError):
        return False


def _at_least(claim: Mapping[str, Any], epsilon: float, delta: float) -> bool:
    return float(claim["epsilon"]) >= epsilon * (1 - ROUNDING) and float(claim["delta"]) == delta


def _unproven(what: str) -> ReleaseError:
    return ReleaseError("E_RELEASE_TOUCHED", "ledger.json", what, "Ask the coordinator for the release as it was made.")
