"""Institutions that have joined a study: their keys, everybody's signatures, a custodian, and what it is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium.data.encoding import Codes
from cohortium.federation import wire
from cohortium.ledger.records import Consent
from cohortium.ledger.store import Ledger
from cohortium.study import consent
from cohortium.study.plan import plan
from cohortium.study.study import Institution, Study
from cohortium.system.keys import public_text
from cohortium_client.custodian.custodian import Custodian, Holding, Identity
from cohortium_client.custodian.policy import Policy

RUN, OTHER_RUN = "ab" * 16, "cd" * 16
POPULATION = "customers"
ANYTHING = Policy(repeatable=True)


def key_of(name: str) -> Ed25519PrivateKey:
    """Always the same one."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def identity(name: str = "north") -> Identity:
    return Identity(name, key_of(name))


def with_keys(*names: str) -> tuple[Institution, ...]:
    return tuple(Institution(name=n, key=public_text(key_of(n))) for n in names)


def consents(study: Study) -> dict[str, str]:
    """Everybody's signature."""
    return {n: consent.sign(study, n, key_of(n)) for n in study.institution_names}


def agree(ledger: Ledger, *studies: Study) -> None:
    """Let the ledger remember that its institution has signed ``studies``."""
    for study in studies:
        ledger.record(Consent(study.digest, study.name, study.serial))


def custodian(
    ledger: Ledger, table: Callable[[Study], Codes], *studies: Study, policy: Policy = ANYTHING, name: str = "north"
) -> Custodian:
    """One that has ``studies`` in its folder; what its ledger says of them is another matter."""
    return Custodian(identity(name), {s.digest: s for s in studies}, Holding(POPULATION, table, ledger), policy)


def request(of: Study, **changes: Any) -> bytes:
    """The first round of a run, signed by all unless changed."""
    fields = {"study": of.digest, "run": RUN, "round": 0, "attempt": 0, "consents": consents(of)}
    return wire.encode_request(wire.Request(**(fields | changes)))


def answer(data: bytes, study: Study, round_: int = 0) -> wire.Answer:
    """The answer that ``data`` is, and not a refusal."""
    reported = wire.decode_answer(data, plan(study).phase(round_).query.width)
    assert isinstance(reported, wire.Answer), reported
    return reported


def refusal(code: str, name: str = "north") -> bytes:
    """The one form that a refusal has, byte by byte."""
    header = f'{{"code":"{code}","institution":"{name}","type":"refusal"}}'.encode()
    return b"COH2" + len(header).to_bytes(4, "little") + header


def changed(study: Study, **privacy: Any) -> Study:
    return replace(study, privacy=replace(study.privacy, **privacy))
