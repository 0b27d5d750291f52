"""The entries of a ledger: what they record, and how each is bound to the one before it.

A charge is an event, never an epsilon: what was done, for which study, run, round and attempt. ``entry_hash`` covers an entry's
number, moment and content and the hash of the entry before it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cohortium.ledger.amendment import Amendment, amendment_of
from cohortium.ledger.format import FORMAT
from cohortium.ledger.restoration import Restoration, restoration_of
from cohortium.privacy.accounting import Events, Gaussian
from cohortium.system.canonical import digest

GENESIS = "0" * 64


@dataclass(frozen=True)
class Charge:
    """One answer: its events, the digest of the request it answers, and the digest of its own bytes.

    events: what it costs towards the coordinator. bare: what it costs if all others collude, that is towards somebody who
    knows what all other institutions sent, where that is more, as under a mask.
    """

    population: str
    study: str
    run: str
    round: int
    attempt: int
    request: str
    message: str
    events: Events
    delta: float
    bare: Events = ()

    @property
    def place(self) -> str:
        """The identity of an attempt; the ledger holds each once."""
        return f"{self.run}/{self.round}/{self.attempt}"


@dataclass(frozen=True)
class Consent:
    """The institution has signed a study: its digest, and the name and serial by which a later one replaces it."""

    study: str
    name: str
    serial: int


@dataclass(frozen=True)
class Withdrawal:
    """The institution answers this study no longer."""

    study: str


@dataclass(frozen=True)
class Approval:
    """A person at the institution has approved one run of a study."""

    study: str
    run: str


Record = Charge | Consent | Withdrawal | Approval | Restoration | Amendment
KINDS: dict[str, type[Record]] = {
    c.__name__.lower(): c for c in (Charge, Consent, Withdrawal, Approval, Restoration, Amendment)
}


@dataclass(frozen=True)
class Entry:
    number: int
    record: Record
    at: str
    previous: str
    hash: str


def kind_of(record: Record) -> str:
    return type(record).__name__.lower()


def record_of(kind: str, content: dict[str, Any]) -> Record:
    """The record of a row; raises ValueError, TypeError, KeyError or StudyError where it is none."""
    if kind == "charge":
        for name in ("events", "bare"):
            content[name] = tuple(Gaussian(**e) for e in content[name])
    if kind == "restoration":
        return restoration_of(content)
    if kind == "amendment":
        return amendment_of(content)
    return KINDS[kind](**content)


def entry_hash(number: int, record: Record, at: str, previous: str) -> str:
    content = {"kind": kind_of(record), "content": asdict(record)}
    return digest({"format": FORMAT, "number": number, "at": at, "previous": previous, **content})
