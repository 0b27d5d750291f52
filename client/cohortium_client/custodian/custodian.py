"""The institution's main path: check, contribute, add noise, charge and store, reply.

The custodian is the only place where a record and a message meet. It trusts nothing the coordinator says: which query a round
asks, how much noise it gets and what it costs follow from a study that this institution and all others have signed. What the
policy forbids is not answered, whatever was signed. An error leaves the institution as a code, never as text.

A message and its charge become durable together, before the message leaves. A custodian that stops before that point has sent
nothing and spent nothing; one that stops after it sends the same bytes when it is asked again.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from cohortium.data.encoding import Codes
from cohortium.errors import (
    BudgetError,
    CohortiumError,
    InputError,
    LedgerError,
    MaskingError,
    NotPrivateError,
    PolicyError,
    StudyError,
    WireError,
)
from cohortium.federation import wire
from cohortium.ledger.caps import Caps
from cohortium.ledger.receipt import sign_receipt
from cohortium.ledger.records import Approval, Charge, Entry
from cohortium.ledger.store import Ledger
from cohortium.masking.statements import Statement
from cohortium.privacy.discrete_gaussian import Noised
from cohortium.privacy.randomness import SecureRandomness
from cohortium.study import consent
from cohortium.study.plan import Phase, charged, charged_in_all, collusion_events_in_all, plan, ring
from cohortium.study.study import Study
from cohortium.system import failpoints
from cohortium.system.logs import about, in_short, without_text
from cohortium_client.custodian.answerable import (
    agreed_to,
    consent_state,
    consents_to,
    not_agreed,
    require_open,
    restored,
)
from cohortium_client.custodian.identity import Identity
from cohortium_client.custodian.keeping import SILENT_FOR, over
from cohortium_client.custodian.masked import Answered, Masking
from cohortium_client.custodian.policy import Policy
from cohortium_client.custodian.sessions import Sessions

__all__ = ["Custodian", "Holding", "Identity", "agreed_to", "consents_to"]

MAX_ATTEMPTS = 3  # at a round where institutions may drop out
REPORTABLE = (
    StudyError,
    WireError,
    BudgetError,
    PolicyError,
    LedgerError,
    MaskingError,
    NotPrivateError,
)  # the codes of these may leave: they do not depend on data
_log = logging.getLogger("cohortium.custodian")  # the institution's own log; nothing of it is sent anywhere


@dataclass(frozen=True)
class Holding:
    """What the custodian holds: whose privacy is spent, the table as codes of a study's schema, and the ledger.

    population: stays the same however the table changes. table: reads the table; it is called once a run.
    sessions: state kept between the legs of masked sums; without it such studies are not answered. keep: for how
    many days the bytes of a run's answers stay in the ledger if nobody announces its end; None is for ever.
    """

    population: str
    table: Callable[[Study], Codes]
    ledger: Ledger
    sessions: Sessions | None = None
    keep: int | None = SILENT_FOR


class Custodian:
    """Answers the rounds of the studies that one institution has agreed to, from its table.

    studies: those it has agreed to, by digest; one without a consent in the ledger is not answered even so.
    simulated: the institution is made up, and each study it signed counts by itself (``consents_to``).
    """

    def __init__(
        self,
        identity: Identity,
        studies: Mapping[str, Study],
        holding: Holding,
        policy: Policy,
        simulated: bool = False,
    ) -> None:
        self.identity, self._studies, self._policy = identity, studies, policy
        self._agreed_to = consents_to if simulated else agreed_to
        self._holding, self._ledger = holding, holding.ledger
        self._one_at_a_time = Lock()
        self._open: tuple[tuple[str, str], Codes] | None = None
        self._verified: tuple[str, tuple[tuple[str, str], ...]] | None = None

    def answer(self, data: bytes) -> bytes:
        """The reply to a request: a noised answer of the query's width, or a refusal that carries a code alone."""
        try:
            parts = wire.decode_bundle(data)
        except WireError as error:
            _log.warning("refused: %s", error, extra=about(code=error.code))
            return self._refusal(error.code)
        answers = [self._answer(part) for part in parts]
        return answers[0] if parts == [data] else wire.encode_bundle(answers, wire.version_of(data))

    def _answer(self, data: bytes) -> bytes:
        request: wire.Request | None = None
        try:
            with self._one_at_a_time:
                request = wire.decode_request(data)
                return self._reply(request)
        except Exception as error:  # noqa: BLE001 - whatever happened may depend on data and must not be reported
            return self._refused(error, request)

    def _refused(self, error: Exception, request: wire.Request | None) -> bytes:
        """How an error is reported: as a code to the coordinator, and in the institution's own log."""
        if isinstance(error, REPORTABLE):
            _log.warning("refused: %s", error, extra=about(request, error.code))
            return self._refusal(error.code)
        if not isinstance(error, CohortiumError):
            _log.error("failed: %s", without_text(error), extra=about(request, "E_CUSTODIAN"))
            return self._refusal("E_CUSTODIAN")
        _log.error("failed: %s", in_short(error), extra=about(request, "E_CUSTODIAN"))
        return self._refusal("E_CUSTODIAN")

    def _refusal(self, code: str) -> bytes:
        return wire.encode_refusal(wire.Refusal(self.identity.name, code))

    def _reply(self, request: wire.Request) -> bytes:
        study = self._agreed(request)
        if request.leg == "end":
            return self._ended(study, request)
        phase = self._next_phase(study, request)
        if request.leg not in ("answer", "mask"):
            return self._masking_statement(study, phase, request)
        kept = self._ledger.answered(self._charge(study, request, phase, ""))
        sealed = self._sealed(request, *(kept or self._answered(study, request, phase)))
        if request.leg == "mask" and not study.privacy.dropouts:
            self._forget_after_last(study, request)
        return sealed

    def _ended(self, study: Study, request: wire.Request) -> bytes:
        """The coordinator announces that it will ask for nothing of the run again.

        A lie gains nothing: whatever it asks for again is refused from now on. Before the last round was answered the
        announcement is refused, so that nobody in between can have a run forgotten that goes on.
        """
        if not self._answered_to_the_end(study, request.run):
            raise WireError("E_ROUND_ORDER", "request", "the run's last round was not answered", "Ask it to the end.")
        if self._holding.keep is not None and self._ledger.drop({request.run}):
            self._ledger.shrink()
            _log.info("study %s has ended: its answers are dropped", study.name, extra=about(request))
        return wire.encode_statement({}, request.version)

    def _answered_to_the_end(self, study: Study, run: str) -> bool:
        last = plan(study).rounds - 1
        done = any(
            (c.study, c.run, c.round) == (study.digest, run, last)
            for c in self._ledger.charges(self._holding.population)
        )
        if not study.privacy.dropouts or self._holding.sessions is None:
            return done
        return done and any(number == last for number, _ in self._holding.sessions.statements_in(run, "reveal"))

    def tidy(self) -> int:
        """Drop the answers of runs that nobody will ask about again; returns how many runs. All charges stay."""
        gone = over(self._ledger, self._studies, self._holding.keep, datetime.now(UTC))
        if self._ledger.drop(gone):
            self._ledger.shrink()
            _log.info("the answers of %d runs that are over are dropped", len(gone))
        return len(gone)

    def _forget_after_last(self, study: Study, request: wire.Request) -> None:
        """Forget the run's secrets after its last leg: its stored statements can still be sent again."""
        if request.round == plan(study).rounds - 1 and self._holding.sessions is not None:
            self._holding.sessions.forget(request.run)

    def _answered(self, study: Study, request: wire.Request, phase: Phase) -> tuple[Entry, bytes]:
        """A fresh answer, charged and stored."""
        caps = self._policy.caps(study)
        return self._charged(study, request, phase, caps, self._computed(study, request, phase, caps))

    def _computed(self, study: Study, request: wire.Request, phase: Phase, caps: Caps) -> bytes:
        """A fresh answer that can be paid for and is not charged yet: it must not leave before ``_charged``."""
        self._afford(study, request, phase, caps)
        values, statement = self._values(study, request, phase)
        header = (request.study, request.run, request.round, request.attempt, self.identity.name)
        message = wire.encode_reply(wire.Reply(*header, secrets.token_hex(32), values, statement), request.version)
        failpoints.passed("answer computed")
        return message

    def _charged(
        self, study: Study, request: wire.Request, phase: Phase, caps: Caps, message: bytes
    ) -> tuple[Entry, bytes]:
        """The computed answer, charged and stored."""
        digest = hashlib.sha256(message).hexdigest()
        answered = self._ledger.charge(self._charge(study, request, phase, digest), message, caps)
        _log.info("answered a round of study %s", study.name, extra=about(request))
        return answered

    def _values(self, study: Study, request: wire.Request, phase: Phase) -> tuple[wire.Values, Mapping[str, Any]]:
        """The values that leave: noised, also masked where the study says so, and what is signed with them."""
        query = phase.query.with_state(request.state)

        def noised() -> Noised:
            with _concealing_errors():
                codes = self._table(study, request.run)
                failpoints.passed("request accepted")
                return query.answer(codes, phase.multiplier, SecureRandomness())

        if request.leg == "answer":
            return noised().values, {}
        return self._hidden(study, request, phase, noised)

    def _hidden(
        self, study: Study, request: wire.Request, phase: Phase, noised: Callable[[], Noised]
    ) -> tuple[wire.Values, Mapping[str, Any]]:
        """A masked share of a sum."""
        masked, statement = self._masking(study, request).mask(request, noised, ring(study, phase))
        return masked.values, statement

    def _masking(self, study: Study, request: wire.Request) -> Masking:
        if self._holding.sessions is None:
            raise PolicyError(
                "E_POLICY", "custodian", "it keeps no sessions of masked sums", "Open it from its institution's folder."
            )
        done = frozenset((c.round, c.attempt) for c in self._ledger.charges() if c.run == request.run)
        return Masking(self.identity, study, self._holding.sessions, Answered(done))

    def _masking_statement(self, study: Study, phase: Phase, request: wire.Request) -> bytes:
        """A statement of the masking protocol."""

        def answered() -> Statement:
            message = self._ledger.sent(self._charge(study, request, phase, "").place)
            numbers, width = ring(study, phase).dtype, phase.query.width
            return Statement.from_document(wire.decode_reply(message, width, numbers).statement)

        masking = self._masking(study, request)
        statement = masking.stored_statement(request)
        if statement is None:
            masking.require_unopened(request)
            if request.leg in ("advertise", "share"):  # nothing is stored for a round that could not be paid for
                self._afford(study, request, phase, self._policy.caps(study))
            statement = masking.make_statement(request, answered)
        if request.leg == "reveal":
            self._forget_after_last(study, request)
        return statement

    def _sealed(self, request: wire.Request, entry: Entry, message: bytes) -> bytes:
        """The message under the receipt of its own charge: always the same bytes."""
        failpoints.passed("answer sealed")
        assert isinstance(entry.record, Charge)  # noqa: S101 - it is the charge that holds the message's digest
        charged, about = entry.record.message, wire.answer_to(request)
        receipt = sign_receipt(self.identity.key, self.identity.name, charged, entry.hash, about)
        return wire.encode_answer(message, receipt, request.version)

    # Whether a request may be answered

    def _agreed(self, request: wire.Request) -> Study:
        """The request's study, if all have signed it, it is still in force, and policy and approval allow it."""
        study = self._studies.get(request.study)
        if self._ledger.is_closed(request.study):
            raise restored(request.study)
        if study is None or not self._agreed_to(self._ledger, study):
            raise not_agreed("unsigned" if study is None else consent_state(self._ledger, study))
        require_open(study, self.identity, self._policy, self._ledger)
        self._check_consents(study, request)
        self._check_receipts(request)
        self._check_approval(request)
        return study

    def _check_consents(self, study: Study, request: wire.Request) -> None:
        """All must have signed the study; what was verified once is not verified again."""
        seen = (study.digest, tuple(sorted(request.consents.items())))
        if seen != self._verified:
            consent.require_all(study, request.consents)
            self._verified = seen

    def _check_receipts(self, request: wire.Request) -> None:
        """Every head that we ever signed must be in our ledger."""
        ours = (r for r in request.receipts if r.institution == self.identity.name and r.is_of(self.identity.public))
        if not all(self._ledger.holds(receipt.head) for receipt in ours):
            raise self._ledger.rolled_back()

    def _check_approval(self, request: wire.Request) -> None:
        wanted = Approval(request.study, request.run)
        if self._policy.require_approval and all(e.record != wanted for e in self._ledger.entries()):
            raise PolicyError(
                "E_APPROVAL",
                f"run {request.run}",
                "nobody here has approved it yet",
                f"Run cohortium institution approve FOLDER {request.run} --study {request.study[:16]}, then resume.",
            )

    def _next_phase(self, study: Study, request: wire.Request) -> Phase:
        """The phase the request asks for, if it is the next one of its run, or one that was answered before."""
        most = attempts_at(study)
        if request.attempt >= most:
            raise WireError("E_ROUND_ORDER", "request", f"more than {most} attempts at a round", "Start a new run.")
        if (request.leg == "answer") != (study.privacy.trust == "local"):
            raise WireError("E_WIRE", "request", "its leg is of another trust mode", "Update both sides.")
        done = [c for c in self._ledger.charges(self._holding.population) if c.run == request.run]
        if any(c.study != request.study for c in done):
            raise WireError("E_REPLAY", "request", "the run belongs to another study", "Start a new run.")
        last = max((c.round for c in done), default=-1)
        skips = request.round > last + 1 and not study.privacy.dropouts  # after dropping out, an institution may return
        goes_back = request.round < last and all((c.round, c.attempt) != (request.round, request.attempt) for c in done)
        if skips or goes_back or request.round >= plan(study).rounds:
            raise WireError(
                "E_ROUND_ORDER", "request", "the round is not the next one of its run", "Ask the rounds in order."
            )
        return plan(study).phase(request.round)

    def _afford(self, study: Study, request: wire.Request, phase: Phase, caps: Caps) -> None:
        """All or nothing: a run that could not be paid for to its end is not begun."""
        begun = any(c.run == request.run for c in self._ledger.charges(self._holding.population))
        if begun:
            one = self._charge(study, request, phase, "")
            self._ledger.afford(one.population, one.study, one.events, caps, one.bare)
        else:
            self._afford_all(study, caps)

    def afford(self, study: Study) -> None:
        """A dry run of a whole study: BudgetError E_BUDGET, with what remains, if it cannot be paid for."""
        self._afford_all(study, self._policy.caps(study))

    def _afford_all(self, study: Study, caps: Caps) -> None:
        whole, bare = charged_in_all(study), collusion_events_in_all(study)
        self._ledger.afford(self._holding.population, study.digest, whole, caps, bare)

    # The table

    def _table(self, study: Study, run: str) -> Codes:
        """The table, read once a run."""
        wanted = (study.digest, run)
        if self._open is None or self._open[0] != wanted:
            self._open = None
            self._open = wanted, self._holding.table(study)
        codes = self._open[1]
        steps = [len(table.steps) for table in study.schema.tables]
        if codes.sizes != study.schema.sizes or [one.values.shape[1] for one in codes.events] != steps:
            raise StudyError(
                "E_PLAN_UNTRUSTED", "table", "it was encoded for another schema", "Encode it with the study's schema."
            )
        return codes

    def _charge(self, study: Study, request: wire.Request, phase: Phase, message: str) -> Charge:
        return Charge(
            self._holding.population,
            request.study,
            request.run,
            request.round,
            request.attempt,
            request.identity,
            message,
            charged(study, phase.answer_events),
            study.privacy.delta,
            phase.collusion_events if phase.honest > 1 else (),
        )


@contextmanager
def _concealing_errors() -> Iterator[None]:
    """Whatever fails while data is handled becomes E_CUSTODIAN: which error it is may depend on a person."""
    try:
        yield
    except REPORTABLE as error:
        raise InputError(
            "E_CUSTODIAN", "table", f"no answer could be made from it: {error}", "Check the table."
        ) from error


def attempts_at(study: Study) -> int:
    """How many attempts a round may have: one, unless institutions may drop out and masks may have to be given up.

    A lost message is sent again byte by byte, so in other studies nobody needs a second answer, which would have other noise.
    """
    return MAX_ATTEMPTS if study.privacy.dropouts else 1
