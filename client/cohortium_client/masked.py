"""The institution's part in masked sums: the legs of masking/, each answered once, durably.

What the coordinator shows is a board of statements signed by institutions; everything on it is verified here before
a secret is used. The coordinator's word counts for nothing: who takes part, who has survived and what may be revealed
follow from signatures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from cohortium import wire
from cohortium.canonical import digest
from cohortium.errors import MaskingError, WireError
from cohortium.masking import double, whole
from cohortium.masking.cohort import Context
from cohortium.masking.derivation import Seat
from cohortium.masking.ring import Ring
from cohortium.masking.statements import Leg, Statement, advertise, decode_board, read_adverts
from cohortium.masking.total import Masked
from cohortium.noise import Noised
from cohortium.study import Study
from cohortium_client.identity import Identity
from cohortium_client.sessions import Sessions


@dataclass(frozen=True)
class Masking:
    """One institution's seat in the masked sums of a study's run."""

    identity: Identity
    study: Study
    sessions: Sessions

    def speak(self, request: wire.Request, answered: Callable[[], Statement]) -> bytes:
        """The statement of a leg other than mask: the same bytes whenever it is asked for again.

        answered: what was signed with the masked answer of this attempt. MaskingError E_KEYS, E_VIEW or E_COHORT refuses;
        then nothing was said.
        """
        context, asked = self._context(request), _asked(request)
        place = f"{request.run}/{context.round}/{context.attempt}/{request.leg}"
        kept = self.sessions.said(place)
        if kept is None:
            statement = self._statement(self._seat(request), request, answered)
            kept = self.sessions.say(place, asked, wire.encode_said(statement.document(), request.version))
        if kept.asked != asked:
            raise MaskingError(
                "E_VIEW",
                self.identity.name,
                f"it is asked to {request.leg} twice in one attempt, and not the same",
                "Let the coordinator begin a new attempt.",
            )
        return kept.message

    def mask(self, request: wire.Request, noised: Callable[[], Noised], ring: Ring) -> tuple[Masked, Mapping[str, Any]]:
        """The masked answer, and what is signed with it; ``noised`` is called when the board has been verified."""
        seat, boards = self._seat(request), _boards(request)
        adverts = read_adverts(seat.cohort, seat.context, boards["advertise"])
        if not seat.cohort.dropouts:
            whole.require_ready(seat, adverts, _attempt(request))
            return whole.mask(seat, adverts, _attempt(request), request.question, noised(), ring), {}
        shares = double.read_shares(adverts, boards["share"])
        double.require_ready(seat, shares)
        masked, statement = double.mask(seat, shares, request.question, noised(), ring)
        return masked, statement.document()

    def _context(self, request: wire.Request) -> Context:
        """Keys are an attempt's where somebody may drop out and some of them be revealed, else the run's."""
        return _attempt(request) if self.study.privacy.dropouts else _attempt(request).of_run

    def _seat(self, request: wire.Request) -> Seat:
        cohort, secrets = self.study.cohort, self.sessions.secrets(request.run)
        cohort.check()
        return Seat(cohort, self.identity.name, self.identity.key, self._context(request), secrets)

    def _statement(self, seat: Seat, request: wire.Request, answered: Callable[[], Statement]) -> Statement:
        if request.leg == "advertise":
            return advertise(seat)
        if not seat.cohort.dropouts:
            raise WireError("E_ROUND_ORDER", "request", "without dropouts there is no such leg", "Update both sides.")
        boards = _boards(request)
        adverts = read_adverts(seat.cohort, seat.context, boards["advertise"])
        if request.leg == "share":
            return double.share(seat, adverts)
        question = str(answered().body["question"])
        answers = double.read_answers(double.read_shares(adverts, boards["share"]), question, boards["mask"])
        if request.leg == "confirm":
            return double.confirm(seat, answers)
        return double.reveal(seat, double.read_confirmations(answers, boards["confirm"]))


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
