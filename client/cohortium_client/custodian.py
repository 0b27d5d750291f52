"""The institution's story: check, charge, contribute, noise, keep, reply.

The custodian is the only place where a record and a message meet. It believes nothing the coordinator says: which
query a round is, how much noise it gets and what it costs follow from the study the institution has agreed to. What
goes wrong leaves the institution as a code, never as a text.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock

from cohortium import wire
from cohortium.coins import SecureCoins
from cohortium.encoding import Codes
from cohortium.errors import CohortiumError, StudyError, WireError
from cohortium.plan import Phase, plan
from cohortium.privacy.accounting import merged
from cohortium.privacy.ledger import Cap, Charge, Entry, Ledger
from cohortium.study import Study

MAX_ATTEMPTS = 3
_log = logging.getLogger("cohortium.custodian")  # the institution's own log; nothing of it travels


@dataclass(frozen=True)
class Population:
    """Whose privacy is spent, and how much of it there is. ``name`` stays the same however the table changes."""

    name: str
    cap: Cap | None = None


class Custodian:
    """Answers the rounds of one study from one institution's table."""

    def __init__(self, institution: str, study: Study, codes: Codes, ledger: Ledger, population: Population) -> None:
        if institution not in study.institution_names:
            raise StudyError(
                "E_NOT_IN_STUDY",
                institution,
                f"study {study.name!r} does not name this institution",
                "Check the institution's name.",
            )
        if codes.sizes != study.schema.sizes:
            raise StudyError(
                "E_PLAN_UNTRUSTED",
                institution,
                "the table was encoded for another schema",
                "Encode it with the study's schema.",
            )
        self.institution, self.study = institution, study
        self._codes, self._ledger, self._population = codes, ledger, population
        self._one_at_a_time = Lock()

    def afford(self) -> None:
        """A dry run of the whole study: BudgetError E_BUDGET, with what remains, if the population cannot pay for it."""
        events = merged(e for phase in plan(self.study).phases for e in phase.events)
        self._ledger.afford(self._population.name, events, self._population.cap)

    def answer(self, data: bytes) -> bytes:
        """The reply to a request: a noised answer of the query's width, or a refusal that carries a code alone."""
        try:
            with self._one_at_a_time:
                return self._reply(wire.decode_request(data))
        except CohortiumError as error:
            _log.warning("refused: %s", error.code)
            return wire.encode_refusal(wire.Refusal(self.institution, error.code))
        except Exception:  # noqa: BLE001 - whatever happened may depend on data and must not be told
            _log.exception("failed")
            return wire.encode_refusal(wire.Refusal(self.institution, "E_CUSTODIAN"))

    def _reply(self, request: wire.Request) -> bytes:
        phase = self._check(request)
        query = phase.query.with_state(request.state)
        entry, fresh = self._ledger.charge(self._charge(request, phase), self._population.cap)
        if not fresh:
            return self._kept(entry)
        noised = query.answer(self._codes, phase.multiplier, SecureCoins())
        header = (request.study, request.run, request.round, request.attempt, self.institution)
        message = wire.encode_reply(wire.Reply(*header, noised.values))
        self._ledger.store_message(entry, message)
        return message

    def _kept(self, entry: Entry) -> bytes:
        """The very bytes an attempt was answered with. An interrupted attempt is spent: fresh noise needs a new one."""
        message = self._ledger.message(entry)
        if message is None:
            raise WireError(
                "E_REPLAY",
                "ledger",
                "this attempt was charged and then interrupted",
                "Ask again as a new attempt, which is charged.",
            )
        return message

    def _check(self, request: wire.Request) -> Phase:
        """The phase the request asks for, if it is one of the study's and the next one of its run."""
        if request.study != self.study.digest:
            raise StudyError("E_PLAN_UNTRUSTED", "request", "it belongs to another study", "Agree to that study first.")
        if request.attempt >= MAX_ATTEMPTS:
            raise WireError(
                "E_ROUND_ORDER", "request", f"more than {MAX_ATTEMPTS} attempts at a round", "Start a new run."
            )
        entries = self._ledger.entries()
        self._check_expiry(max([datetime.now(UTC).isoformat(), *(e.at for e in entries)]))
        done = {e.charge.round for e in entries if e.charge.run == request.run}
        if request.round > max(done, default=-1) + 1 or request.round >= plan(self.study).rounds:
            raise WireError(
                "E_ROUND_ORDER", "request", "the round is not the next one of its run", "Ask the rounds in order."
            )
        return plan(self.study).phase(request.round)

    def _check_expiry(self, now: str) -> None:
        """``now`` is the latest moment known, so that a clock set back prolongs nothing."""
        if self.study.expires is not None and now[:10] > self.study.expires.isoformat():
            raise StudyError(
                "E_PLAN_UNTRUSTED", "request", f"the study was agreed until {self.study.expires}", "Agree to a new one."
            )

    def _charge(self, request: wire.Request, phase: Phase) -> Charge:
        return Charge(
            self._population.name,
            request.study,
            request.run,
            request.round,
            request.attempt,
            hashlib.sha256(wire.encode_request(request)).hexdigest(),
            phase.query.events(phase.multiplier),
            self.study.privacy.delta,
        )
