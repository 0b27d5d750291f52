"""Whether a release shows that its institutions agreed to it and charged for it, without asking them.

The manifest proves that the coordinator's files were not changed since. This proves what the coordinator cannot make up:
every institution's signature on the study, and its receipt for every round the study plans.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cohortium.consent import unsigned
from cohortium.errors import ReleaseError
from cohortium.plan import plan
from cohortium.receipt import Receipt
from cohortium.study import Study


def check_evidence(folder: Path, study: Study) -> None:
    """ReleaseError E_RELEASE_TOUCHED naming the institution whose consent or receipt is not there or not its own."""
    try:
        told = json.loads((folder / "ledger.json").read_bytes())
        given = {i["name"]: i for i in told["institutions"]}
        consents = {name: str(i["consent"]) for name, i in given.items()}
        genuine = told["study"] == study.digest and set(given) == set(study.institution_names)
        receipts = {name: _receipts(i) for name, i in given.items()}
    except (ValueError, KeyError, TypeError):
        genuine, consents, receipts = False, {}, {}
    if not genuine:
        raise _unproven("it is not this study's account")
    if absent := unsigned(study, consents):
        raise _unproven(f"{', '.join(absent)} has not signed the study")
    for institution in study.institutions:
        if not _are_its_own(receipts[institution.name], institution.name, institution.key):
            raise _unproven(f"a receipt of {institution.name} is not its own")
    for number in range(plan(study).rounds):
        if sum(number in r for r in receipts.values()) < study.answers_needed:
            raise _unproven(f"not enough institutions have signed for round {number}")


def _receipts(institution: dict[str, Any]) -> dict[int, Receipt]:
    return {int(a["round"]): Receipt(**a["receipt"]) for a in institution["answers"]}


def _are_its_own(receipts: dict[int, Receipt], name: str, key: str) -> bool:
    """One entry of the institution's ledger for each round, and its signature on it."""
    apart = len({r.head for r in receipts.values()}) == len(receipts)
    return apart and all(r.institution == name and r.is_of(key) for r in receipts.values())


def _unproven(what: str) -> ReleaseError:
    return ReleaseError("E_RELEASE_TOUCHED", "ledger.json", what, "Ask the coordinator for the release as it was made.")
