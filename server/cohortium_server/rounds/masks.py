"""The coordinator's part in masked sums: it distributes every statement to all institutions, and adds up.

Without dropouts, keys are exchanged once a run and each round is one exchange. With dropouts a round takes three exchanges
(mask, confirm, reveal), which also carry the keys of the next round. Silent institutions are asked again for the same bytes, at
no charge; so is everybody when a restarted coordinator continues the attempt in its journal. An attempt that institutions refuse
to continue is void: the round is asked again in a new attempt, which is charged. Once shares may have been revealed there is no
other attempt: its sum is the round's, or the run ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from cohortium.errors import FederationError, MaskingError, WireError
from cohortium.federation import wire
from cohortium.ledger.receipt import Receipt
from cohortium.masking import all_or_nothing, dropout_tolerant
from cohortium.masking.cohort import Context
from cohortium.masking.ring import Ring
from cohortium.masking.statements import (
    Adverts,
    Leg,
    Statement,
    decode_board,
    encode_board,
    read_adverts,
    read_board,
)
from cohortium.masking.total import Masked, MaskedSum
from cohortium.study.plan import ring
from cohortium.system import failpoints
from cohortium_server.rounds.asking import NEVER_AGAIN, Asking, Round, all_there, gather, note
from cohortium_server.rounds.journal import NOTHING, Aggregate, Begun, Journal

MAX_ATTEMPTS = 3
TRIES = 3  # how often those who do not answer are asked in a leg
_CONTRADICTED = frozenset(
    {"E_VIEW", "E_KEYS", "E_COHORT", "E_ROUND_ORDER"}
)  # an institution that refuses with one of these will not continue the attempt

Statements = dict[str, Statement]  # by the institution's name
Refused = dict[str, str]  # the code, by the institution's name


@dataclass(frozen=True)
class UnderWay:
    """The current attempt at a round, and its journal. begun: its progress."""

    this: Round
    state: bytes
    journal: Journal
    begun: Begun

    def advanced(self, statements: Statements, **changes: Any) -> UnderWay:
        """The attempt with the statements of one more leg, recorded durably."""
        board = encode_board([*decode_board(self.begun.board), *statements.values()])
        begun = replace(self.begun, board=board, **changes)
        self.journal.remember_begun(self.this.number, begun)
        return replace(self, begun=begun)

    def statements(self, leg: Leg) -> list[Statement]:
        return [s for s in decode_board(self.begun.board) if s.leg == leg]


class MaskedRounds:
    """The masked sums of one run, and the keys that were exchanged for it where nobody may drop out."""

    def __init__(self, asking: Asking) -> None:
        self._asking, self._cohort = asking, asking.study.cohort
        self._keys = b""

    def ask(self, this: Round, state: bytes, journal: Journal) -> Aggregate:
        """The sum of a round. Raises FederationError naming who is missing or refuses; the round can then be asked again."""
        if not self._cohort.dropouts:
            return self._all_or_nothing(this, state)
        before = journal.begun(this.number) or Begun(0, NOTHING)
        problem = "it was begun too often"
        for attempt in range(before.attempt, MAX_ATTEMPTS):
            try:
                ready = self._confirmed(self._masked(self._shared(_under(this, state, attempt, journal))))
            except MaskingError as error:
                problem = f"{error.where}: {error.what}"
            else:
                return self._opened(ready)
        raise FederationError(
            "E_COHORT",
            f"round {this.number}",
            f"it is void after {MAX_ATTEMPTS} attempts: {problem}",
            "Begin a new run; every attempt that was answered is charged.",
        )

    # Without dropouts

    def _all_or_nothing(self, this: Round, state: bytes) -> Aggregate:
        if not self._keys:
            asked = self._request(this, "advertise")
            adverts, refused = self._statements(this, 0, "advertise", *self._asking.exchange(asked))
            all_there(this.study, asked, set(adverts), refused)
            self._keys = encode_board(adverts.values())
            failpoints.passed("keys exchanged")
        return self._added_up(this, self._asking.request(this, state, 0, "mask", self._keys))

    def unmasked(self, this: Round, state: bytes) -> Aggregate:
        """The sum of a round of made-up institutions in this process: the sum to which masks would have cancelled."""
        return self._added_up(this, self._asking.request(this, state, 0, "mask"))

    def _added_up(self, this: Round, request: wire.Request) -> Aggregate:
        """The sum of all answers, each in the ring."""
        total, numbers = self._total(this)
        answers = self._asking.stream(request)
        receipts, refused = gather(this, request, answers, numbers.dtype, lambda r: _add(total, r))
        all_there(this.study, request, set(receipts), refused)
        return Aggregate(this.number, 0, all_or_nothing.unmask(total, self._cohort).values, _ordered(this, receipts))

    # With dropouts. MaskingError in one of the first three steps: the attempt is void, and nobody has revealed anything.

    def _shared(self, under: UnderWay) -> UnderWay:
        """Exchange keys and shares, unless that was done with the previous round."""
        this, attempt = under.this, under.begun.attempt
        if not under.statements("advertise"):
            statements, refused = self._asked(this, attempt, "advertise")
            self._require(this, "advertise", statements, refused)
            read_adverts(self._cohort, self._context(this, attempt), statements.values())
            under = under.advanced(statements)
        if not under.statements("share"):
            statements, refused = self._asked(this, attempt, "share", under.begun.board)
            if not _CONTRADICTED & set(refused.values()):
                self._require(this, "share", statements, refused)
            dropout_tolerant.read_shares(self._adverts(under), statements.values())
            under = under.advanced(statements)
            failpoints.passed("keys shared")
        return under

    def _masked(self, under: UnderWay) -> UnderWay:
        """Add up the masked answers, and collect what was signed with them."""
        if under.begun.masked is not None:
            return under
        this, attempt, after = under.this, under.begun.attempt, _next(under.this)
        shares = dropout_tolerant.read_shares(self._adverts(under), under.statements("share"))
        request = self._asking.request(this, under.state, attempt, "mask", under.begun.board)
        asked = [request] + ([] if after is None else [self._request(after, "advertise")])
        for _ in range(TRIES):
            answers, *received = self._asking.exchange(*asked)
            masked, total, receipts, refused = self._added(this, request, shares, answers)
            if len(masked) >= self._cohort.least or refused:
                break
        if len(masked) < self._cohort.least:
            all_there(this.study, request, set(masked), refused)
        if after is not None:
            self._store_adverts(after, under.journal, self._statements(after, 0, "advertise", *received)[0])
        under = under.advanced(masked, masked=total.values, receipts=_ordered(this, receipts))
        failpoints.passed("answers masked")
        return under

    def _added(
        self, this: Round, request: wire.Request, shares: dropout_tolerant.Shares, answers: Iterable[bytes]
    ) -> tuple[Statements, MaskedSum, dict[str, Receipt], Refused]:
        """An institution that signs something else than was asked counts as dropped out: on the board it would void the round."""
        total, numbers = self._total(this)
        masked: Statements = {}

        def take(reply: wire.Reply) -> None:
            statement = Statement.from_document(reply.statement)
            signed = read_board(self._cohort, shares.adverts.context, "mask", [statement])
            if set(signed) != {reply.institution} or statement.body != dropout_tolerant.masked_for(
                shares, request.question
            ):
                raise WireError(
                    "E_WIRE", reply.institution, "it signed something other than was asked", "It is left out."
                )
            _add(total, reply)
            masked.update(signed)

        receipts, refused = gather(this, request, answers, numbers.dtype, take)
        return masked, total, receipts, refused

    def _confirmed(self, under: UnderWay) -> UnderWay:
        """Collect the signatures of t institutions on the list of survivors."""
        if under.statements("confirm"):
            return under
        this, answers, after = under.this, self._answers(under), _next(under.this)
        asked = [self._request(this, "confirm", under.begun.attempt, under.begun.board)]
        ahead = None if after is None else _without_shares(after, under)
        if ahead is not None:
            asked.append(self._request(ahead.this, "share", 0, ahead.begun.board))
        for _ in range(TRIES):
            received, *shares = self._asking.exchange(*asked)
            statements, refused = self._statements(this, under.begun.attempt, "confirm", received)
            if len(statements) >= self._cohort.threshold or refused:
                break
        if len(statements) < self._cohort.threshold and not _CONTRADICTED & set(refused.values()):
            all_there(this.study, asked[0], set(statements), refused)
        dropout_tolerant.read_confirmations(answers, statements.values())
        if ahead is not None:
            self._store_shares(ahead, self._statements(ahead.this, 0, "share", *shares)[0])
        under = under.advanced(statements)
        failpoints.passed("survivors confirmed")
        return under

    def _opened(self, under: UnderWay) -> Aggregate:
        """Open the sum, from shares that are revealed in this attempt only. FederationError where they are too few."""
        this, begun = under.this, under.begun
        confirmed = dropout_tolerant.read_confirmations(self._answers(under), under.statements("confirm"))
        reveals, problem = Statements(), ""
        for _ in range(TRIES):
            received, refused = self._asked(this, begun.attempt, "reveal", begun.board)
            reveals |= received
            failpoints.passed("shares revealed")
            try:
                values = dropout_tolerant.unmask(
                    self._stored_total(under, confirmed), confirmed, reveals.values()
                ).values
            except MaskingError as error:
                problem = error.what
                if not NEVER_AGAIN.keys().isdisjoint(refused.values()):
                    all_there(this.study, self._request(this, "reveal", begun.attempt), set(reveals), refused)
            else:
                return Aggregate(this.number, begun.attempt, values, begun.receipts, begun.void)
        raise FederationError(
            "E_COHORT",
            f"round {this.number}",
            f"its sum cannot be opened: {problem}",
            "Start the institutions that are missing, then resume: they are asked for the same shares, and nothing is charged.",
        )

    def _stored_total(self, under: UnderWay, confirmed: dropout_tolerant.Confirmed) -> MaskedSum:
        assert under.begun.masked is not None  # noqa: S101 - nothing is confirmed before
        numbers = ring(under.this.study, under.this.phase)
        return MaskedSum.of(numbers, under.begun.masked, confirmed.answers.survivors)

    def _adverts(self, under: UnderWay) -> Adverts:
        return read_adverts(self._cohort, self._context(under.this, under.begun.attempt), under.statements("advertise"))

    def _answers(self, under: UnderWay) -> dropout_tolerant.AnswerBoard:
        question = self._asking.request(under.this, under.state, under.begun.attempt, "mask").question
        shares = dropout_tolerant.read_shares(self._adverts(under), under.statements("share"))
        return dropout_tolerant.read_answers(shares, question, under.statements("mask"))

    # The keys of the next round

    def _store_adverts(self, after: Round, journal: Journal, adverts: Statements) -> None:
        """Store them if they are enough and no others are stored; otherwise that round asks for its own."""
        if journal.begun(after.number) is None and len(adverts) >= self._cohort.least:
            journal.remember_begun(after.number, Begun(0, encode_board(adverts.values())))

    def _store_shares(self, ahead: UnderWay, shares: Statements) -> None:
        if len(shares) >= self._cohort.least:
            ahead.advanced(shares)

    # Both

    def _asked(self, this: Round, attempt: int, leg: Leg, board: bytes = b"") -> tuple[Statements, Refused]:
        (received,) = self._asking.exchange(self._request(this, leg, attempt, board))
        return self._statements(this, attempt, leg, received)

    def _require(self, this: Round, leg: Leg, statements: Statements, refused: Refused) -> None:
        """FederationError naming who is missing where too few are left to begin; the attempt is not given up for that."""
        if len(statements) < self._cohort.least:
            all_there(this.study, self._request(this, leg), set(statements), refused)

    def _request(self, this: Round, leg: Leg, attempt: int = 0, board: bytes = b"") -> wire.Request:
        return self._asking.request(this, b"", attempt, leg, board)

    def _context(self, this: Round, attempt: int) -> Context:
        context = Context(this.study.digest, self._asking.run, this.number, attempt)
        return context if self._cohort.dropouts else context.of_run

    def _total(self, this: Round) -> tuple[MaskedSum, Ring]:
        numbers = ring(this.study, this.phase)
        return MaskedSum(numbers, this.query.width), numbers

    def _statements(self, this: Round, attempt: int, leg: Leg, received: Iterable[bytes]) -> tuple[Statements, Refused]:
        """Each institution's signed statement in a leg, and the codes of those who refused. A forged statement is ignored."""
        statements: Statements = {}
        refused: Refused = {}
        for data in received:
            try:
                document = wire.decode_statement(data)
                if isinstance(document, wire.Refusal):
                    refused[document.institution] = document.code
                    note(document, this, self._asking.run)
                    continue
                statement = Statement.from_document(document)
                statements.update(read_board(self._cohort, self._context(this, attempt), leg, [statement]))
            except (MaskingError, WireError):
                continue
        return statements, refused


def _under(this: Round, state: bytes, attempt: int, journal: Journal) -> UnderWay:
    """The attempt as recorded, or a new one after those that were given up."""
    begun = journal.begun(this.number) or Begun(0, NOTHING)
    if begun.attempt < attempt:
        given_up = (*begun.void, begun.receipts)
        begun = Begun(attempt, NOTHING, void=(*given_up, *[()] * (attempt - len(given_up))))
        journal.remember_begun(this.number, begun)
    return UnderWay(this, state, journal, begun)


def _without_shares(after: Round, under: UnderWay) -> UnderWay | None:
    """The next round's first attempt, if its adverts are stored and its shares are not dealt yet."""
    begun = under.journal.begun(after.number)
    ahead = None if begun is None or begun.attempt else UnderWay(after, b"", under.journal, begun)
    return ahead if ahead is not None and ahead.statements("advertise") and not ahead.statements("share") else None


def _ordered(this: Round, receipts: dict[str, Receipt]) -> tuple[Receipt, ...]:
    return tuple(receipts[n] for n in this.study.institution_names if n in receipts)


def _add(total: MaskedSum, reply: wire.Reply) -> None:
    total.add(reply.institution, Masked(reply.values.view(total.ring.dtype)))  # decoded as this ring's numbers


def _next(this: Round) -> Round | None:
    """The next round, as far as keys are concerned."""
    return replace(this, number=this.number + 1) if this.number + 1 < this.of else None
