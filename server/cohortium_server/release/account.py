"""The account that a release publishes: the queries, what was charged for them, void attempts included, and the total cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cohortium.ledger.receipt import Receipt
from cohortium.privacy.accounting import RELATION
from cohortium.study.guarantee import guarantees
from cohortium.study.study import Study
from cohortium.study.wording import UNMASKED
from cohortium_server.rounds.rounds import Answered, Outcome


def account(outcome: Outcome) -> dict[str, Any]:
    """The queries, the events they cost, and the total cost: the content of ``ledger.json``.

    Abandoned attempts are included: each counts as charged to everybody, whether its receipts arrived or not.
    Of a single institution it holds the name, the key, the consent and the receipts. A receipt's digests are of salted
    bytes and reveal nothing: the public's guarantee relies on the public seeing sums only.
    """
    answers: dict[str, list[dict[str, Any]]] = {}
    for answered in outcome.answered:
        for attempt, receipts in enumerate([*answered.void, answered.receipts]):
            for r in receipts:
                answers.setdefault(r.institution, []).append(_answer(answered, attempt, r))
    return {
        "run": outcome.run,
        "study": outcome.study.digest,
        "unit": privacy_unit(outcome.study),
        **({} if outcome.masked else {"masks": UNMASKED}),
        "cost": asdict(outcome.spent.cost),
        "guarantees": guarantee_documents(outcome),
        "institutions": [
            {
                "name": i.name,
                "key": i.key,
                "consent": outcome.consents[i.name],
                "answers": answers.get(i.name, []),
            }
            for i in outcome.study.institutions
        ],
    }


def _answer(answered: Answered, attempt: int, receipt: Receipt) -> dict[str, Any]:
    return {
        "phase": answered.phase,
        "round": answered.round,
        "attempt": attempt,
        "opened": attempt == answered.attempt,
        "events": [asdict(e) for e in answered.events],
        "receipt": asdict(receipt),
    }


def guarantee_documents(outcome: Outcome) -> list[dict[str, Any]]:
    return [g.document() for g in guarantees(outcome.study, outcome.spent, outcome.masked)]


def privacy_unit(study: Study) -> str:
    """The unit of privacy, in words."""
    p = study.privacy
    return f"{RELATION}: all rows of a person; {study.counted} per institution, in at most {p.institutions_per_person} institutions"
