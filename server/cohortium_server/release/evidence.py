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
        if not _answered_all(receipts[institution.name], institution.name, institution.key, plan(study).rounds):
            raise _unproven(f"{institution.name} has not signed for every round")


def _receipts(institution: dict[str, Any]) -> dict[int, Receipt]:
    return {int(a["round"]): Receipt(**a["receipt"]) for a in institution["answers"]}


def _answered_all(receipts: dict[int, Receipt], name: str, key: str, rounds: int) -> bool:
    whole = set(receipts) == set(range(rounds)) and len({r.head for r in receipts.values()}) == rounds
    return whole and all(r.institution == name and r.is_of(key) for r in receipts.values())


def _unproven(what: str) -> ReleaseError:
    return ReleaseError("E_RELEASE_TOUCHED", "ledger.json", what, "Ask the coordinator for the release as it was made.")
