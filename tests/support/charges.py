"""Charges to put into a ledger, each with a message of its own; and a study that is killed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from enlisted import with_keys

from cohortium.data.columns import Boolean
from cohortium.data.encoding import Codes
from cohortium.data.schema import Schema
from cohortium.ledger.store import NO_CAPS, Caps, Charge, Entry, Ledger
from cohortium.privacy.accounting import Gaussian
from cohortium.study.generators import Sweep
from cohortium.study.study import Privacy, Study

EVENTS = (Gaussian(4.0), Gaussian(2.0, 0.1, 10))
CHARGE = Charge("people", "ab" * 32, "cd" * 16, 0, 0, "ef" * 32, "", EVENTS, 1e-6, (Gaussian(3.0), *EVENTS))


def message_of(charge: Charge) -> bytes:
    return f"the answer to {charge.place}".encode()


def put(ledger: Ledger, charge: Charge = CHARGE, caps: Caps = NO_CAPS, message: bytes | None = None) -> Entry:
    """Charge it together with a message of its own."""
    sent = message_of(charge) if message is None else message
    entry, kept = ledger.charge(replace(charge, message=hashlib.sha256(sent).hexdigest()), sent, caps)
    assert kept == sent
    return entry


STUDY = Study(
    name="killed",
    schema=Schema(columns=tuple(Boolean(name=name) for name in "ab")),
    privacy=Privacy(epsilon=1.0, delta=1e-6),
    generator=Sweep(),
    institutions=with_keys("north"),
)


def table(_: Study) -> Codes:
    return Codes(np.zeros((9, 2), np.int16), np.arange(9), (2, 2))
