"""The institution's part in masked sums: the legs of masking/, each answered once, durably.

The coordinator presents a board of statements signed by institutions, and everything on it is verified here before a secret is
used. The coordinator itself is not trusted: who takes part, who has survived and what may be revealed follow from signatures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from cohortium.errors import LedgerError, MaskingError, WireError
from cohortium.federation import wire
from cohortium.masking import all_or_nothing, dropout_tolerant
from cohortium.masking.cohort import Context
from cohortium.masking.derivation import Seat
from cohortium.masking.ring import Ring
from cohortium.masking.statements import Leg, Statement, advertise, decode_board, read_adverts
from cohortium.masking.total import Masked
from cohortium.privacy.discrete_gaussian import Noised
from cohortium.study.study import Study
from cohortium.system.canonical import digest
from cohortium_client.custodian.identity import Identity
from cohortium_client.custodian.sessions import Sessions


@dataclass(frozen=True)
class Answered:
    """The rounds and attempts of a run that the ledger has charged."""

    places: frozenset[tuple[int, int]]

    def last_attempt(self, round_number: int) -> int:
        """The number of the last attempt at a round; -1 if there is none."""
        return max((attempt for number, attempt in self.places if number == round_number), default=-1)


@dataclass(frozen=True)
class Masking:
    """One institution's seat in the masked sums of a study's run.

    **One sum of a round.** Where institutions may drop out a round may have several attempts, of which each has noise of its
    own: two sums of one round would reveal more than was charged for one. So an institution reveals shares in one attempt of a round
    at most. That suffices: to open a sum takes t reveals, of which colluders make at most T, so t - T of the K - T honest
    institutions; two attempts would take 2 (t - T) different ones, but t > 2K/3 and T < K/3 make 2t - T > K. Which of the
    attempts it is does not matter, nor what colluders, the coordinator or the network do (``require_unopened``).

    Besides, attempts only go up: who has masked a later one neither masks, confirms nor reveals an earlier one. So the attempt
    that is opened is the last one that those who opened it were charged for, and its number shows how many attempts they were
    charged for.
    Without dropouts a round has one attempt alone (``custodian.attempts_at``).
    """

    identity: Identity
    study: Study
    sessions: Sessions
    answered: Answered

    def stored_statement(self, request: wire.Request) -> bytes | None:
        """The statement made in the request's leg, if any; MaskingError E_VIEW if it answered another question."""
        kept = self.sessions.statement(self._place(request))
        if kept is None:
            return None
        if kept.asked != _asked(request):
            raise MaskingError(
                "E_VIEW",
                self.identity.name,
                f"it is asked to {request.leg} twice in one attempt, with different content",
                "Let the coordinator begin a new attempt.",
            )
        return kept.message

    def require_unopened(self, request: wire.Request) -> None:
        """Called before a new statement or masked answer is made in an attempt of a round.

        MaskingError E_REVEALED where shares were revealed in another attempt, WireError E_ROUND_ORDER where a later one was
        masked.
        """
        revealed = {a for number, a in self.sessions.statements_in(request.run, "reveal") if number == request.round}
        if revealed - {request.attempt}:
            raise MaskingError(
                "E_REVEALED",
                f"round {request.round}",
                "this institution has revealed its shares in another attempt",
                "Ask to reveal again in that attempt; it sends the same bytes.",
            )
        if self.answered.last_attempt(request.round) > request.attempt:
            raise WireError(
                "E_ROUND_ORDER", "request", "a later attempt of the round was answered", "Go on with the newest."
            )

    def make_statement(self, request: wire.Request, answered: Callable[[], Statement]) -> bytes:
        """Make the first statement of a leg other than mask, and store it: from now on the leg is answered with these bytes alone.

        answered: what was signed with the masked answer of this attempt. MaskingError E_KEYS, E_VIEW or E_COHORT refuses;
        then nothing was stored.
        """
        statement = self._statement(self._seat(request), request, answered)
        said = wire.encode_statement(statement.document(), request.version)
        return self.sessions.store(self._place(request), _asked(request), said).message

    def mask(self, request: wire.Request, noised: Callable[[], Noised], ring: Ring) -> tuple[Masked, Mapping[str, Any]]:
        """The masked answer, and what is signed with it; ``noised`` is called when the board has been verified."""
        self.require_unopened(request)
        seat, boards = self._seat(request), _boards(request)
        adverts = read_adverts(seat.cohort, seat.context, boards["advertise"])
        if not seat.cohort.dropouts:
            all_or_nothing.require_ready(seat, adverts, _attempt(request))
            return all_or_nothing.mask(seat, adverts, _attempt(request), request.question, noised(), ring), {}
        shares = dropout_tolerant.read_shares(adverts, boards["share"])
        dropout_tolerant.require_ready(seat, shares)
        masked, statement = dropout_tolerant.mask(seat, shares, request.question, noised(), ring)
        return masked, statement.document()

    def _context(self, request: wire.Request) -> Context:
        """Keys belong to an attempt where institutions may drop out, as some keys are then revealed; else to the run."""
        return _attempt(request) if self.study.privacy.dropouts else _attempt(request).of_run

    def _place(self, request: wire.Request) -> str:
        context = self._context(request)
        return f"{request.run}/{context.round}/{context.attempt}/{request.leg}"

    def _seat(self, request: wire.Request) -> Seat:
        self._require_remembered(request)
        cohort = self.study.cohort
        cohort.check()
        secrets = self.sessions.secrets(request.run)
        return Seat(cohort, self.identity.name, self.identity.key, self._context(request), secrets)

    def _require_remembered(self, request: wire.Request) -> None:
        """The sessions must hold at least what the ledger proves: whatever was charged was masked with the run's secrets.

        Where institutions may drop out, the shares were stated before, too. LedgerError E_LEDGER_ROLLED_BACK otherwise.
        """
        known = not self.answered.places or self.sessions.has_secrets(request.run)
        if known and self.study.privacy.dropouts:
            known = self.answered.places <= self.sessions.statements_in(request.run, "share")
        if not known:
            raise LedgerError(
                "E_LEDGER_ROLLED_BACK",
                f"run {request.run}",
                "it was answered, but its sessions hold nothing of it: it has ended, has expired, or its sessions are lost",
                "Begin a new run.",
            )

    def _statement(self, seat: Seat, request: wire.Request, answered: Callable[[], Statement]) -> Statement:
        if request.leg == "advertise":
            return advertise(seat)
        if not seat.cohort.dropouts:
            raise WireError("E_ROUND_ORDER", "request", "without dropouts there is no such leg", "Update both sides.")
        boards = _boards(request)
        adverts = read_adverts(seat.cohort, seat.context, boards["advertise"])
        if request.leg == "share":
            return dropout_tolerant.share(seat, adverts)
        question = str(answered().body["question"])
        answers = dropout_tolerant.read_answers(
            dropout_tolerant.read_shares(adverts, boards["share"]), question, boards["mask"]
        )
        if request.leg == "confirm":
            return dropout_tolerant.confirm(seat, answers)
        return dropout_tolerant.reveal(seat, dropout_tolerant.read_confirmations(answers, boards["confirm"]))


def _attempt(request: wire.Request) -> Context:
    return Context(request.study, request.run, request.round, request.attempt)


def _asked(request: wire.Request) -> str:
    """SHA-256 of what a leg depends on."""
    board = hashlib.sha256(request.board).hexdigest()
    return digest([request.study, request.run, request.leg, board])


def _boards(request: wire.Request) -> dict[Leg, list[Statement]]:
    """The board's statements by their leg."""
    boards: dict[Leg, list[Statement]] = {leg: [] for leg in get_args(Leg)}
    for statement in decode_board(request.board):
        boards[statement.leg].append(statement)
    return boards
