"""Whether a release shows that its institutions agreed to it and charged for it, without asking them.

The manifest proves that the coordinator's files were not changed since. This proves what the coordinator cannot make up:
every institution's signature on the study, and its receipt for every round the study plans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortium.consent import unsigned
from cohortium.documents import load_json
from cohortium.errors import ReleaseError
from cohortium.plan import plan
from cohortium.receipt import Receipt, about
from cohortium.study import Institution, Study
from cohortium_server.release.manifest import MANIFEST, kind_of


def check_kind(manifest: Mapping[str, Any], study: Study) -> None:
    """ReleaseError E_RELEASE_TOUCHED where what made-up institutions have signed is called anything but a simulation."""
    if study.simulated and kind_of(manifest) != "simulation":
        what = "it is not called a simulation, but its institutions have signed one"
        raise ReleaseError("E_RELEASE_TOUCHED", MANIFEST, what, "Do not use this release; ask who made it.")


def check_evidence(folder: Path, study: Study) -> None:
    """ReleaseError E_RELEASE_TOUCHED naming the institution whose consent or receipt is not there or not its own."""
    try:
        told = load_json(folder / "ledger.json")
        consents = {i["name"]: str(i["consent"]) for i in told["institutions"]}
        answers = {i["name"]: _answers(told, i) for i in told["institutions"]}
        genuine = told["study"] == study.digest and set(answers) == set(study.institution_names)
    except (ValueError, KeyError, TypeError):
        genuine, consents, answers = False, {}, {}
    if not genuine:
        raise _unproven("it is not this study's account")
    if absent := unsigned(study, consents):
        raise _unproven(f"{', '.join(absent)} has not signed the study")
    for institution in study.institutions:
        if not all(_proves(a, institution) for a in answers[institution.name].values()):
            raise _unproven(f"a receipt of {institution.name} is not its own, or not of this answer")
    for number in range(plan(study).rounds):
        if sum(number in given for given in answers.values()) < study.answers_needed:
            raise _unproven(f"not enough institutions have signed for round {number}")


@dataclass(frozen=True)
class _Answer:
    """One institution's answer as the account tells of it. about: which it is, as a receipt says it."""

    about: str
    receipt: Receipt


def _answers(told: dict[str, Any], institution: dict[str, Any]) -> dict[int, _Answer]:
    """By round."""
    return {
        int(a["round"]): _Answer(
            about(str(told["study"]), str(told["run"]), int(a["round"]), int(a["attempt"])), Receipt(**a["receipt"])
        )
        for a in institution["answers"]
    }


def _proves(answer: _Answer, institution: Institution) -> bool:
    """Whether the institution has signed that it charged this very answer."""
    receipt = answer.receipt
    return (receipt.institution, receipt.about) == (institution.name, answer.about) and receipt.is_of(institution.key)


def _unproven(what: str) -> ReleaseError:
    return ReleaseError("E_RELEASE_TOUCHED", "ledger.json", what, "Ask the coordinator for the release as it was made.")
