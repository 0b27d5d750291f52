"""What must hold whatever was killed when (docs/threat-model.md 5.1)."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field

import pandas as pd
from processes import Federation
from tap import Exchange

from cohortium.errors import WireError
from cohortium.federation import wire
from cohortium.ledger.receipt import about, sign_receipt
from cohortium.ledger.records import Charge, Entry
from cohortium.ledger.store import Ledger
from cohortium.privacy.accounting import composed, cost
from cohortium.study.plan import plan
from cohortium_client.custodian.institution import load_institution
from cohortium_server.release import load_release

DELTA = 1e-6


@dataclass
class Found:
    """What an institution sent, held against its ledger; lists of places, run/round/attempt."""

    answers: int = 0
    uncounted: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)


def compare(federation: Federation, name: str) -> Found:
    """Every byte of an answer that was ever seen on the wire, against what the ledger has charged."""
    found = Found()
    with federation.ledger(name) as ledger:
        ledger.verify()
        charged = _charged(federation, name, ledger)
    for exchange in list(federation.taps[name].exchanges):
        request, sent = exchange.request, _sent(exchange)
        if request is None or not sent:
            continue
        place = f"{request.run}/{request.round}/{request.attempt}"
        found.answers += 1
        if place not in charged:
            found.uncounted.append(place)
        elif not charged[place].startswith(sent) or (exchange.answer is not None and charged[place] != sent):
            found.differing.append(place)
    return found


def _sent(exchange: Exchange) -> bytes:
    """What of an answer was sent; nothing if it was a refusal, or a statement that has no part of the table in it."""
    sent = exchange.answer if exchange.answer is not None else exchange.fragment
    return b"" if re.match(rb'COH.{5}.*"type":"(refusal|said)"', sent, re.DOTALL) else sent


def _charged(federation: Federation, name: str, ledger: Ledger) -> dict[str, bytes]:
    """By its place, the one answer that each charge pays for."""
    key = load_institution(federation.folder(name)).identity.key
    charges = {e.record.place: e for e in ledger.entries() if isinstance(e.record, Charge)}

    def answer(entry: Entry) -> bytes:
        assert isinstance(entry.record, Charge)
        charge = entry.record
        to = about(charge.study, charge.run, charge.round, charge.attempt)
        receipt = sign_receipt(key, name, charge.message, entry.hash, to)
        return wire.encode_answer(_bytes(federation, name, ledger, entry), receipt)

    return {place: answer(entry) for place, entry in charges.items()}


def _bytes(federation: Federation, name: str, ledger: Ledger, entry: Entry) -> bytes:
    """What was charged; where the run has ended and the ledger keeps it no more, what of that digest was seen on the wire."""
    try:
        return ledger.message(entry)
    except WireError as error:
        assert error.code == "E_ENDED"
    assert isinstance(entry.record, Charge)
    for exchange in federation.taps[name].exchanges:
        if exchange.answer is not None and _sent(exchange):
            reply = wire._unpack(exchange.answer, "answer", {"receipt": dict})[1]
            if hashlib.sha256(reply).hexdigest() == entry.record.message:
                return reply
    raise AssertionError(f"{name} dropped what nobody has got whole")


def check(federation: Federation) -> None:
    """At any time at which no message is under way."""
    federation.settle()
    for name in federation.study.institution_names:
        found = compare(federation, name)
        assert found.uncounted == [], f"{name} sent what it had not charged"
        assert found.differing == [], f"{name} sent other bytes than those it charged"
        _check_spend(federation, name)
    if federation.release.exists():
        check_release(federation)


def _check_spend(federation: Federation, name: str) -> None:
    """At least what was seen, at most what the plan of an uninterrupted run costs."""
    agreed = plan(federation.study)
    seen = {e.request.round for e in federation.taps[name].exchanges if e.request is not None and _sent(e)}
    events = [agreed.phase(r).answer_events for r in seen]
    with federation.ledger(name) as ledger:
        spent = ledger.spent(name, DELTA).epsilon
        places = Counter(c.place for c in ledger.charges())
    assert cost(composed(e for some in events for e in some), DELTA).epsilon <= spent * (1 + 1e-9)
    assert spent <= agreed.cost.epsilon * (1 + 1e-9)
    assert set(places.values()) <= {1} and len(places) <= agreed.rounds


def check_release(federation: Federation) -> None:
    """It verifies, with consents and receipts, and has the shape that an uninterrupted run's has."""
    release = load_release(federation.release)
    table = pd.read_csv(federation.release / "synthetic.csv")
    wanted = [c.name for c in federation.study.schema.columns]
    assert (len(table), list(table.columns)) == (federation.study.release.rows, wanted)
    assert release.manifest["guarantee"]["epsilon"] == plan(federation.study).cost.epsilon


def check_finished(federation: Federation) -> None:
    """After all is said: as ``check``, and the budget is exactly an uninterrupted run's, and nothing lies about."""
    check(federation)
    check_release(federation)
    agreed = plan(federation.study)
    for name in federation.study.institution_names:
        with federation.ledger(name) as ledger:
            assert [(c.round, c.attempt) for c in ledger.charges()] == [(r, 0) for r in range(agreed.rounds)]
            assert ledger.spent(name, DELTA) == agreed.cost
    assert [p.name for p in federation.release.parent.iterdir() if p.name[0] != "."] == [federation.release.name]
