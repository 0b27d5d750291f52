"""The coordinator's part in masked sums: it shows everybody what everybody has said, and adds up.

Without dropouts the keys are exchanged once a run, then a round is one exchange. With dropouts a round is three
(mask, confirm, reveal), in which the keys of the next round travel along, and a round that too few survive is void:
it is asked again as a new attempt, which is charged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from cohortium import failpoints, wire
from cohortium.errors import FederationError, MaskingError, WireError
from cohortium.masking import double, whole
from cohortium.masking.cohort import Context
from cohortium.masking.ring import Ring
from cohortium.masking.statements import Leg, Statement, encode_board, read_adverts, read_board
from cohortium.masking.total import Masked, MaskedSum
from cohortium.plan import ring
from cohortium.receipt import Receipt
from cohortium_server.asking import Asking, Round, all_there, gather, note
from cohortium_server.journal import Heard, Journal

MAX_ATTEMPTS = 3

Said = dict[str, Statement]  # by the institution's name


@dataclass(frozen=True)
class Keys:
    """What was said before masks can be made: the adverts, and where somebody may drop out the shares."""

    adverts: Said
    shares: Said

    @property
    def board(self) -> bytes:
        return encode_board([*self.adverts.values(), *self.shares.values()])


class MaskedRounds:
    """The masked sums of one run, and the keys that were exchanged for rounds to come."""

    def __init__(self, asking: Asking) -> None:
        self._asking, self._cohort = asking, asking.study.cohort
        self._keys: Keys | None = None
        self._for: tuple[int, int] | None = None  # the round and attempt that they are for; of the run where None

    def ask(self, this: Round, state: bytes, journal: Journal) -> Heard:
        """The sum of a round. Raises FederationError naming who is missing or refuses."""
        if not self._cohort.dropouts:
            return self._all_or_nothing(this, state)
        problem = "it was begun too often"
        for attempt in range(journal.attempts(this.number), MAX_ATTEMPTS):
            try:
                return self._attempt(this, state, attempt, journal)
            except MaskingError as error:
                problem = f"{error.where}: {error.what}"
        raise FederationError(
            "E_COHORT",
            f"round {this.number}",
            f"it is void after {MAX_ATTEMPTS} attempts: {problem}",
            "See that the institutions stay; every attempt that was answered is charged.",
        )

    # Without dropouts

    def _all_or_nothing(self, this: Round, state: bytes) -> Heard:
        if self._keys is None:
            asked = self._request(this, "advertise")
            adverts, refused = self._said(this, 0, "advertise", *self._asking.exchange(asked))
            all_there(this.study, asked, set(adverts), refused)
            self._keys = Keys(adverts, {})
            failpoints.passed("keys exchanged")
        request = self._asking.request(this, state, 0, "mask", self._keys.board)
        (answers,) = self._asking.exchange(request)
        total, numbers = self._total(this)
        receipts, refused = gather(this, request, answers, numbers.dtype, lambda r: _add(total, r))
        all_there(this.study, request, set(receipts), refused)
        return self._heard(this, 0, whole.unmask(total, self._cohort).values, receipts)

    # With dropouts

    def _attempt(self, this: Round, state: bytes, attempt: int, journal: Journal) -> Heard:
        """Mask, confirm, reveal. MaskingError where the attempt is void."""
        keys = self._keys_for(this, attempt)
        adverts = read_adverts(self._cohort, self._context(this, attempt), keys.adverts.values())
        shares = double.read_shares(adverts, keys.shares.values())
        journal.remember_attempts(this.number, attempt + 1)
        request = self._asking.request(this, state, attempt, "mask", keys.board)
        masked, total, receipts, next_adverts = self._mask(this, request, shares)
        board = encode_board([*keys.adverts.values(), *keys.shares.values(), *masked.values()])
        answers = double.read_answers(shares, request.question, masked.values())
        confirms = self._confirm(this, attempt, board, next_adverts)
        confirmed = double.read_confirmations(answers, confirms.values())
        board = encode_board([*keys.adverts.values(), *keys.shares.values(), *masked.values(), *confirms.values()])
        (told,) = self._asking.exchange(self._request(this, "reveal", attempt, board))
        reveals, _ = self._said(this, attempt, "reveal", told)
        failpoints.passed("shares revealed")
        return self._heard(this, attempt, double.unmask(total, confirmed, reveals.values()).values, receipts)

    def _keys_for(self, this: Round, attempt: int) -> Keys:
        """Those that have travelled with the round before, or else exchanged now."""
        if self._keys is not None and self._for == (this.number, attempt):
            return self._keys
        (told,) = self._asking.exchange(self._request(this, "advertise", attempt))
        adverts, _ = self._said(this, attempt, "advertise", told)
        (told,) = self._asking.exchange(self._request(this, "share", attempt, encode_board(adverts.values())))
        return Keys(adverts, self._said(this, attempt, "share", told)[0])

    def _mask(
        self, this: Round, request: wire.Request, shares: double.Shares
    ) -> tuple[Said, MaskedSum, dict[str, Receipt], Said]:
        """The masked answers added up, what was signed with them, and the adverts of the round after.

        Who signs something else than was asked has dropped out: on one board with the others, it would void the round.
        """
        after = _next(this)
        asked = [request] + ([] if after is None else [self._request(after, "advertise")])
        answers, *told = self._asking.exchange(*asked)
        total, numbers = self._total(this)
        masked: Said = {}

        def take(reply: wire.Reply) -> None:
            statement = Statement.from_document(reply.statement)
            signed = read_board(self._cohort, shares.adverts.context, "mask", [statement])
            if set(signed) != {reply.institution} or statement.body != double.masked_for(shares, request.question):
                raise WireError("E_WIRE", reply.institution, "it has signed something else", "It is left out.")
            _add(total, reply)
            masked.update(signed)

        receipts, refused = gather(this, request, answers, numbers.dtype, take)
        if len(receipts) < self._cohort.least and refused:
            all_there(this.study, request, set(receipts), refused)
        adverts = {} if after is None else self._said(after, 0, "advertise", *told)[0]
        return masked, total, receipts, adverts

    def _confirm(self, this: Round, attempt: int, board: bytes, next_adverts: Said) -> Said:
        after = _next(this)
        asked = [self._request(this, "confirm", attempt, board)]
        if after is not None:
            asked.append(self._request(after, "share", 0, encode_board(next_adverts.values())))
        told, *shares = self._asking.exchange(*asked)
        if after is not None:
            self._keys = Keys(next_adverts, self._said(after, 0, "share", *shares)[0])
            self._for = (after.number, 0)
        return self._said(this, attempt, "confirm", told)[0]

    # Both

    def _request(self, this: Round, leg: Leg, attempt: int = 0, board: bytes = b"") -> wire.Request:
        return self._asking.request(this, b"", attempt, leg, board)

    def _context(self, this: Round, attempt: int) -> Context:
        context = Context(this.study.digest, self._asking.run, this.number, attempt)
        return context if self._cohort.dropouts else context.of_run

    def _total(self, this: Round) -> tuple[MaskedSum, Ring]:
        numbers = ring(this.study, this.phase)
        return MaskedSum(numbers, this.query.width), numbers

    def _said(self, this: Round, attempt: int, leg: Leg, told: Iterable[bytes]) -> tuple[Said, dict[str, str]]:
        """What each institution signed in a leg, and the codes of those who refused. What is forged was not said."""
        said: Said = {}
        refused: dict[str, str] = {}
        for data in told:
            try:
                document = wire.decode_said(data)
                if isinstance(document, wire.Refusal):
                    refused[document.institution] = document.code
                    note(document, this, self._asking.run)
                    continue
                statement = Statement.from_document(document)
                said.update(read_board(self._cohort, self._context(this, attempt), leg, [statement]))
            except (MaskingError, WireError):
                continue
        return said, refused

    def _heard(self, this: Round, attempt: int, values: Any, receipts: dict[str, Receipt]) -> Heard:
        there = tuple(receipts[n] for n in this.study.institution_names if n in receipts)
        return Heard(this.number, attempt, values, there)


def _add(total: MaskedSum, reply: wire.Reply) -> None:
    total.add(reply.institution, Masked(reply.values.view(total.ring.dtype)))  # decoded as this ring's numbers


def _next(this: Round) -> Round | None:
    """The round after, as far as keys are concerned."""
    return replace(this, number=this.number + 1) if this.number + 1 < this.of else None
