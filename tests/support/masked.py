"""Institutions that add up under masks, for tests: who they are, and a whole attempt in one call."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cohortium.masking import (
    Adverts,
    Cohort,
    Context,
    Masked,
    MaskedSum,
    Ring,
    Seat,
    Secrets,
    Statement,
    UnmaskedSum,
    advertise,
    all_or_nothing,
    dropout_tolerant,
    read_adverts,
)
from cohortium.masking.statements import Leg, sign_statement
from cohortium.privacy.discrete_gaussian import Noised
from cohortium.system.keys import public_text

RUN = Context("5d" * 32, "ab" * 16)
ATTEMPT = replace(RUN, round=1, attempt=1)
QUESTION = hashlib.sha256(b"what is asked").hexdigest()


def bytes_of(*what: Any) -> bytes:
    """32 bytes that are different for anything else: fixed keys and seeds."""
    return hashlib.sha256(repr(what).encode()).digest()


def identity(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes_of("identity", name))


@cache
def public_text_of(name: str) -> str:
    return public_text(identity(name))


def cohort_of(size: int, dropouts: int = 0, colluders: int = 0) -> Cohort:
    names = [f"institution-{k:02}" for k in range(size)]
    return Cohort({n: public_text_of(n) for n in names}, dropouts, colluders)


def seats_of(cohort: Cohort, context: Context | None = None, salt: object = 0) -> dict[str, Seat]:
    """One seat an institution, with secrets that ``salt`` varies."""
    at = context or (ATTEMPT if cohort.dropouts else RUN)
    return {n: Seat(cohort, n, identity(n), at, Secrets(bytes_of("secrets", n, salt))) for n in cohort.names}


def again(seat: Seat, leg: Leg, body: Mapping[str, Any]) -> Statement:
    """What a dishonest institution says instead: anything, rightly signed."""
    return sign_statement(seat, leg, body)


@dataclass
class Attempt:
    """A double-masked attempt, leg by leg. Who is missing in a leg is named when the leg is played."""

    seats: dict[str, Seat]
    ring: Ring = Ring(64)  # noqa: RUF009
    question: str = QUESTION

    @property
    def cohort(self) -> Cohort:
        return next(iter(self.seats.values())).cohort

    @property
    def context(self) -> Context:
        return next(iter(self.seats.values())).context

    def adverts(self, missing: Iterable[str] = ()) -> Adverts:
        said = [advertise(s) for n, s in self.seats.items() if n not in missing]
        return read_adverts(self.cohort, self.context, said)

    def shares(self, adverts: Adverts, missing: Iterable[str] = ()) -> dropout_tolerant.Shares:
        said = [dropout_tolerant.share(self.seats[n], adverts) for n in adverts.mask_keys if n not in missing]
        return dropout_tolerant.read_shares(adverts, said)

    def answers(
        self, shares: dropout_tolerant.Shares, values: Mapping[str, Any], missing: Iterable[str] = ()
    ) -> tuple[MaskedSum, dropout_tolerant.AnswerBoard, dict[str, Masked]]:
        given: dict[str, tuple[Masked, Statement]] = {}
        for name in shares.names:
            if name not in missing:
                noised = Noised(np.asarray(values[name], np.int64))
                given[name] = dropout_tolerant.mask(self.seats[name], shares, self.question, noised, self.ring)
        width = len(next(iter(given.values()))[0].values)
        total = MaskedSum(self.ring, width)
        for name, (answer, _) in given.items():
            total.add(name, answer)
        read = dropout_tolerant.read_answers(shares, self.question, [s for _, s in given.values()])
        return total, read, {n: a for n, (a, _) in given.items()}

    def confirmed(
        self, answers: dropout_tolerant.AnswerBoard, missing: Iterable[str] = ()
    ) -> dropout_tolerant.Confirmed:
        said = [dropout_tolerant.confirm(self.seats[n], answers) for n in answers.survivors if n not in missing]
        return dropout_tolerant.read_confirmations(answers, said)

    def reveals(self, confirmed: dropout_tolerant.Confirmed, missing: Iterable[str] = ()) -> list[Statement]:
        return [dropout_tolerant.reveal(self.seats[n], confirmed) for n in confirmed.signers if n not in missing]


def double_sum(
    attempt: Attempt, values: Mapping[str, Any], missing: tuple[Iterable[str], ...] = ((),) * 5
) -> UnmaskedSum:
    """The sum of whoever is not missing; missing: in each of the legs advertise, share, mask, confirm, reveal."""
    shares = attempt.shares(attempt.adverts(missing[0]), missing[1])
    total, answers, _ = attempt.answers(shares, values, missing[2])
    confirmed = attempt.confirmed(answers, missing[3])
    return dropout_tolerant.unmask(total, confirmed, attempt.reveals(confirmed, missing[4]))


def whole_answers(
    seats: Mapping[str, Seat],
    values: Mapping[str, Any],
    ring: Ring,
    context: Context = ATTEMPT,
    question: str = QUESTION,
) -> dict[str, Masked]:
    cohort = next(iter(seats.values())).cohort
    adverts = read_adverts(cohort, context.of_run, [advertise(s) for s in seats.values()])
    return {
        n: all_or_nothing.mask(s, adverts, context, question, Noised(np.asarray(values[n], np.int64)), ring)
        for n, s in seats.items()
    }


def whole_sum(seats: Mapping[str, Seat], values: Mapping[str, Any], ring: Ring) -> UnmaskedSum:
    answers = whole_answers(seats, values, ring)
    total = MaskedSum(ring, len(next(iter(answers.values())).values))
    for name, answer in answers.items():
        total.add(name, answer)
    return all_or_nothing.unmask(total, next(iter(seats.values())).cohort)
